"""Jobs on a real Slurm of this machine: arrays, preemptions, requeues and deaths, with every run trained once and to its end."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from launch import states
from launch.engines.engine import Job
from launch.engines.slurm.engine import SlurmEngine
from scaling.run_directory import RunDirectory
from tests.launch import slurm_cluster
from tests.launch.conftest import PROJECT_ROOT, SEEDS
from tests.scaling.training import small_runs

FAKE_RUN_ONE = pathlib.Path(__file__).with_name("fake_run_one.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.why_absent()), reason=slurm_cluster.why_absent() or "there is one"),
]


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("submitit")
    with slurm_cluster.running() as folder:
        yield folder


@pytest.fixture
def fake_trainers(monkeypatch, tmp_path):
    """The interpreter of every task runs `launch.run_one` with fake trainers, whatever module it is asked for."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {FAKE_RUN_ONE} "$@"\n')
    interpreter.chmod(0o755)
    real = SlurmEngine.task

    def task(self, job, root):
        made = real(self, job, root)
        made.python = str(interpreter)
        return made

    monkeypatch.setattr(SlurmEngine, "task", task)


def seeds(*values: int) -> str:
    """A sweep over seeds."""
    return SEEDS.format(values=values)


def engine(**settings) -> SlurmEngine:
    """One core a task, and little patience."""
    return SlurmEngine(**{"minutes": 60, "grace_seconds": 60, "backoff_seconds": 0.5, **settings})


def submit(slurm: SlurmEngine, lab, units) -> list[str]:
    """One job for each unit."""
    jobs = [Job(f"job-{unit.run_id[:6]}", (unit.run_id,), 1.0, 1.0, 1.0) for unit in units]
    return slurm.submit(slurm.plan(jobs, "test-0000", str(lab.root)))


def wait(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still no {what}: {queue()}"
        time.sleep(0.2)


def queue() -> str:
    return subprocess.run(["squeue", "--array"], capture_output=True, text=True, check=True).stdout


def step(unit: states.Unit) -> int:
    """The last step that any attempt at a run has written."""
    return max((row["step"] for row in unit.directories[0].metrics()), default=0)


def steps_written(unit: states.Unit) -> list[int]:
    """Every row of every attempt, in the order of the attempts."""
    return [row["step"] for attempt in unit.directories[0].attempts() for row in attempt.metrics()]


def all_done(units) -> bool:
    return all(states.is_finished(unit) for unit in units)


def logs(lab) -> str:
    return "\n".join(path.read_text() for path in sorted(lab.root.glob("logs/slurm/test-0000/*_log.out")))


def test_an_array_trains_every_run_once_and_two_at_a_time(cluster, lab, fake_trainers, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "1")
    units = lab.frozen_units(seeds(*range(6)))
    slurm = engine(parallelism=2)
    handles = submit(slurm, lab, units)
    assert [re.fullmatch(r"\d+_(\d)", handle).group(1) for handle in handles] == list("012345")
    seen: set[int] = set()

    def finished():
        words = list(slurm.poll(handles).values())
        seen.add(words.count("running"))
        return all_done(units) and set(words) == {"ended"}

    wait(finished, "end of the array")
    assert max(seen) == 2
    assert sorted(lab.started()) == sorted(unit.run_id for unit in units)
    assert "waiting" not in slurm.poll(handles).values()


def test_a_task_that_is_warned_saves_goes_back_to_the_queue_and_continues_where_it_was(
    cluster, lab, fake_trainers, monkeypatch
):
    monkeypatch.setenv("FAKE_SECONDS", "6")
    (unit,) = lab.frozen_units(seeds(1))
    (handle,) = submit(engine(), lab, [unit])
    wait(lambda: step(unit) > 0, "first step")
    subprocess.run(["scancel", "--signal=USR2", handle], check=True)
    wait(lambda: all_done([unit]), "end of the requeued task")
    first, second = unit.directories[0].attempts()
    assert first.end["status"] == "interrupted" and second.first_step == first.metrics()[-1]["step"]
    written = steps_written(unit)
    assert written == sorted(set(written)), "no step was computed twice"
    assert "Requeued job" in logs(lab)


def test_a_preemption_by_a_higher_partition_saves_within_its_grace_time(cluster, lab, fake_trainers, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "8")
    (unit,) = lab.frozen_units(seeds(2))
    (handle,) = submit(engine(partition="low", options={"exclusive": "user"}), lab, [unit])
    wait(lambda: step(unit) > 0, "first step")
    urgent = ["sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 2"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait(lambda: "Requeued job" in logs(lab), "requeue", seconds=15)
    wait(lambda: all_done([unit]), "end of the preempted task")
    first, second = unit.directories[0].attempts()
    assert first.end["status"] == "interrupted" and second.first_step == first.metrics()[-1]["step"]
    written = steps_written(unit)
    assert written == sorted(set(written)), "no step was computed twice"


def test_a_cancelled_task_saves_and_stays_away(cluster, lab, fake_trainers, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "30")
    (unit,) = lab.frozen_units(seeds(3))
    slurm = engine()
    (handle,) = submit(slurm, lab, [unit])
    wait(lambda: step(unit) > 0, "first step")
    slurm.cancel([handle])
    wait(lambda: slurm.poll([handle]) == {handle: "ended"}, "end")
    assert unit.directories[0].attempts()[0].end["status"] == "interrupted"
    time.sleep(10)  # A requeued task would be back after the five seconds of cred_expire.
    assert slurm.poll([handle]) == {handle: "ended"} and len(unit.directories[0].attempts()) == 1
    slurm.cancel([handle])


def test_a_killed_slurmstepd_leaves_no_second_writer(cluster, lab, fake_trainers, monkeypatch):
    """Its tasks are orphans: Slurm thinks them dead, and starts the job again while they could still write."""
    monkeypatch.setenv("FAKE_SECONDS", "10")
    (unit,) = lab.frozen_units(seeds(4))
    (handle,) = submit(engine(), lab, [unit])
    wait(lambda: step(unit) > 0, "first step")
    trainer = int((lab.root / "journal.txt").read_text().split()[1])
    for daemon in ancestors(trainer, "slurmstepd"):
        os.kill(daemon, signal.SIGKILL)
    wait(lambda: not pathlib.Path(f"/proc/{trainer}").exists(), "end of the orphan", seconds=10)
    assert unit.directories[0].attempts()[0].end["status"] == "interrupted"
    if not all_done([unit]):
        submit(engine(), lab, [unit])
    wait(lambda: all_done([unit]), "end of the run")
    written = steps_written(unit)
    assert written == sorted(set(written)) and written[-1] == 50


def test_a_crash_is_tried_again_within_the_task_and_a_refusal_is_not(cluster, lab, fake_trainers, monkeypatch):
    monkeypatch.setenv("FAKE_BEHAVIOUR", '{"5": "crash_once", "6": "refuse"}')
    units = lab.frozen_units(seeds(5, 6))
    slurm = engine()
    handles = submit(slurm, lab, units)
    wait(lambda: set(slurm.poll(handles).values()) == {"ended"}, "end")
    crashed, refused = units
    assert [attempt.end.get("status") for attempt in crashed.directories[0].attempts()] == [None, None]
    assert all_done([crashed]) and not all_done([refused]) and not refused.directories[0].attempts()
    assert f"given up, as said above: {refused.run_id} (exit code 2)" in logs(lab)


SWEEP = """
from launch import sweep_config
sweep_config.Sweep.name = "preempted"
sweep_config.Sweep.root = "{root}"
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@sweep_config.Grid(),)
# Runs that could train side by side would be one job.
sweep_config.Grid.binding = "llama.width"
sweep_config.Grid.values = (16, 32)
"""


def test_a_sweep_that_is_preempted_ends_with_the_very_parameters_of_one_that_is_not(cluster, byte_store, tmp_path):
    """The verb, the real trainer and no periodic checkpoint: what the requeued task continues is what the notice made it save."""
    run = small_runs.write_gin(tmp_path / "run.gin", byte_store, steps=400, checkpoint_steps=0)
    (tmp_path / "sweep.gin").write_text(pathlib.Path(run).read_text() + SWEEP.format(root=tmp_path / "runs"))
    command = [sys.executable, "-m", "launch.sweep", f"--gin_file={tmp_path / 'sweep.gin'}", "--engine=slurm"]
    settings = {"minutes": 60, "parallelism": 1, "backoff_seconds": 1.0}
    flags = [f"--gin.SlurmEngine.{name}={value}" for name, value in settings.items()]
    sweep = subprocess.Popen(
        [*command, *flags], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def directories() -> list[RunDirectory]:
        return [RunDirectory(path.parent) for path in sorted((tmp_path / "runs").glob("*/spec.json"))]

    def under_way() -> bool:
        return any(row["step"] > 20 for run in directories() for row in run.metrics())

    wait(under_way, "step 20 of a run", seconds=300)
    (job,) = re.findall(r"^\s*(\d+_0)\s", queue(), re.MULTILINE)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, output
    interrupted, undisturbed = sorted(directories(), key=lambda run: -len(run.attempts()))
    first, second = interrupted.attempts()
    assert len(undisturbed.attempts()) == 1
    assert second.first_step == first.metrics()[-1]["step"] > 20
    (alone,) = small_runs.train(tmp_path / "alone", interrupted.spec.config)
    small_runs.assert_identical(small_runs.final_parameters(interrupted), small_runs.final_parameters(alone))
    assert interrupted.record()["losses"] == alone.record()["losses"]


def ancestors(pid: int, name: str) -> list[int]:
    """Those processes above `pid` whose program has that name, from the nearest up."""
    found = []
    while pid > 1:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        if re.search(rf"^Name:\s+{name}", status, re.MULTILINE):
            found.append(pid)
        pid = int(re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE).group(1))
    return found
