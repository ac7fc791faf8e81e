"""What the Slurm engine would submit and submits, and what a task does when Slurm speaks to it: with stand-ins for Slurm's commands on the PATH."""

import json
import os
import pathlib
import pickle
import shlex
import signal
import subprocess
import sys
import time

import pytest

from launch import manifest
from launch.engines.engine import Job
from launch.engines.slurm.engine import SlurmEngine
from launch.engines.slurm.task import GivenUpError, RunTask
from scaling import gin_files
from scaling.errors import ConfigError
from tests.launch.conftest import PROJECT_ROOT, SEEDS

submitit = pytest.importorskip("submitit")

FAKE_RUN_ONE = pathlib.Path(__file__).with_name("fake_run_one.py")

EXPECTED = """\
#!/bin/bash

# Parameters
#SBATCH --account=physics
#SBATCH --array=0-2%2
#SBATCH --constraint=a100
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-node=8
#SBATCH --job-name=scan-1234
#SBATCH --mem=196608M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output={folder}/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=low
#SBATCH --requeue
#SBATCH --reservation=night
#SBATCH --signal=USR2@120
#SBATCH --time=600

# setup
export PYTHONPATH={project}${{PYTHONPATH:+:$PYTHONPATH}}
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output {folder}/%A_%a_%t_log.out --cpus-per-task=4 {python} -u -m submitit.core._submit {folder}
"""

ENGINE = SlurmEngine(
    partition="gpu",
    account="physics",
    qos="low",
    constraint="a100",
    minutes=600,
    nodes=2,
    tasks_per_node=8,
    gpus_per_node=8,
    cpus_per_task=4,
    memory_gb=192.0,
    parallelism=2,
    grace_seconds=120,
    setup=("module load cuda",),
    options={"reservation": "night"},
)


def jobs(count: int) -> list[Job]:
    return [Job(f"job-{i}", (f"run{i}", f"more{i}"), 60.0 * (i + 1), 1e15, 1e9) for i in range(count)]


def test_the_plan_is_the_text_that_sbatch_will_get_and_touches_nothing(tmp_path, monkeypatch):
    """Without any of Slurm's commands, as on the machine where a sweep is designed."""
    monkeypatch.setenv("PATH", "")
    submission = ENGINE.plan(jobs(3), "scan-1234", str(tmp_path / "runs"))
    folder = tmp_path / "runs" / "logs" / "slurm" / "scan-1234"
    (text,) = submission.files.values()
    assert text == EXPECTED.format(
        folder=folder, project=shlex.quote(str(PROJECT_ROOT)), python=shlex.quote(sys.executable)
    )
    assert submission.commands == (("sbatch", str(folder / "array-0.sh")),)
    # Two at a time: 60 s and 120 s, then 180 s after the first.
    assert submission.seconds == 240.0 and submission.cost is None
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_settings_are_those_of_one_gpu_a_run():
    shipped = gin_files.load(SlurmEngine, [str(PROJECT_ROOT / "configs" / "engines" / "slurm.gin")], []).config
    (text,) = shipped.plan(jobs(2), "scan-1234", "/shared/runs").files.values()
    assert {"#SBATCH --gpus-per-node=1", "#SBATCH --time=720", "#SBATCH --requeue"} <= set(text.splitlines())
    assert "partition" not in text and "account" not in text and "wckey" not in text


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"tasks_per_node": 3, "gpus_per_node": 8}, "tasks_per_node is 3 for 8 GPUs"),
        ({"minutes": 0}, "minutes is 0"),
        ({"parallelism": 0}, "parallelism is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"minutes": 5, "grace_seconds": 300}, "grace_seconds is 300 within a limit of 5 minutes"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, what):
    with pytest.raises(ConfigError, match=what):
        SlurmEngine(**settings)


def test_settings_survive_the_manifest_from_which_a_sweep_is_resumed():
    assert gin_files.from_dict(SlurmEngine, json.loads(json.dumps(manifest.settings_of(ENGINE)))) == ENGINE


def test_a_root_in_a_bucket_needs_a_folder_for_the_logs(tmp_path):
    with pytest.raises(ConfigError, match="gs://bucket/runs is in a bucket"):
        SlurmEngine().plan(jobs(1), "scan", "gs://bucket/runs")
    elsewhere = SlurmEngine(folder=str(tmp_path))
    assert str(tmp_path / "scan") in "".join(elsewhere.plan(jobs(1), "scan", "gs://bucket/runs").files)
    assert elsewhere.task(jobs(1)[0], "gs://bucket/runs").root == "gs://bucket/runs"


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """Commands that write down what they were called with, and answer what a test wrote for them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        script = folder / name
        script.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n'
            f"[ {name} = sbatch ] && cat $1 >> {tmp_path}/texts\n"
            f"cat {tmp_path}/{name}.answer 2>/dev/null\n"
            f"cat {tmp_path}/{name}.error >&2 2>/dev/null && exit 1\nexit 0\n"
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (tmp_path / "sbatch.answer").write_text("Submitted batch job 7\n")
    return tmp_path


def calls(folder: pathlib.Path, program: str) -> list[str]:
    written = folder / "calls"
    lines = written.read_text().splitlines() if written.exists() else []
    return [line.removeprefix(f"{program} ") for line in lines if line.startswith(f"{program} ")]


def test_sbatch_gets_the_text_of_the_plan_and_every_task_its_runs(fake_slurm, tmp_path):
    submission = ENGINE.plan(jobs(3), "scan-1234", str(tmp_path / "runs"))
    assert ENGINE.submit(submission) == ["7_0", "7_1", "7_2"]
    (path, text), *_ = submission.files.items()
    assert (fake_slurm / "texts").read_text() == text == pathlib.Path(path).read_text()
    for index in range(3):
        pickled = pathlib.Path(path).with_name(f"7_{index}_submitted.pkl").read_bytes()
        run_task = pickle.loads(pickled).function
        assert run_task.run_ids == (f"run{index}", f"more{index}")
        assert run_task.command(["a", "b"])[1:] == [
            "-m",
            "launch.run_one",
            f"--root={tmp_path}/runs",
            "--run_id=a",
            "--run_id=b",
        ]


def test_a_sweep_beyond_the_limit_of_arrays_is_cut_and_shares_the_parallelism(fake_slurm, tmp_path):
    engine = SlurmEngine(max_array_size=2, parallelism=5)
    submission = engine.plan(jobs(5), "scan", str(tmp_path / "runs"))
    assert len(engine.submit(submission)) == 5
    texts = list(submission.files.values())
    assert (fake_slurm / "texts").read_text() == "".join(texts)
    assert ["--array=0-1%1" in text for text in texts] == [True, True, False]
    # The last part is one task, which submitit submits as no array.
    assert "--array" not in texts[2] and "/%j_%t_log.out" in texts[2]


def test_what_slurm_refuses_is_one_line_with_its_own_words(fake_slurm, tmp_path):
    (fake_slurm / "sbatch.error").write_text("sbatch: error: invalid partition specified: gpu\n")
    submission = ENGINE.plan(jobs(3), "scan-1234", str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match="refuses the array of scan-1234: .*invalid partition specified: gpu"):
        ENGINE.submit(submission)


def test_states_are_advice_in_the_words_of_the_protocol(fake_slurm):
    (fake_slurm / "squeue.answer").write_text("7_0 RUNNING\n7_1 PENDING\n7_2 COMPLETING\n8 RUNNING\n")
    found = ENGINE.poll(["7_0", "7_1", "7_2", "7_3"])
    assert found == {"7_0": "running", "7_1": "waiting", "7_2": "running", "7_3": "ended"}
    (fake_slurm / "squeue.error").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    assert ENGINE.poll(["7_0"]) == {"7_0": "unknown"}


def test_cancelling_names_every_task(fake_slurm):
    ENGINE.cancel([f"7_{i}" for i in range(501)])
    first, second = calls(fake_slurm, "scancel")
    assert first.split()[:3] == ["--quiet", "7_0", "7_1"] and second == "--quiet 7_500"


def test_a_machine_without_slurm_or_submitit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="finds no sbatch, srun, squeue, scancel, scontrol on the PATH"):
        SlurmEngine().check(str(tmp_path))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"needs submitit, which is not installed.*requirements-extras.lock submitit"):
        SlurmEngine().check(str(tmp_path))


@pytest.fixture
def interpreter(tmp_path) -> str:
    """Runs `launch.run_one` with fake trainers, whatever module it is asked for."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {FAKE_RUN_ONE} "$@"\n')
    script.chmod(0o755)
    return str(script)


def task(lab, interpreter: str, seed: int) -> tuple[RunTask, object]:
    """A task for one run of that seed, and its directory."""
    (unit,) = lab.frozen_units(SEEDS.format(values=(seed,)))
    return RunTask(str(lab.root), (unit.run_id,), interpreter, 1, 0.1, 30.0), unit.directories[0]


def test_a_pickled_task_trains_through_submitit(lab, interpreter, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_BEHAVIOUR", '{"1": "crash_once"}')
    run_task, directory = task(lab, interpreter, 1)
    job = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="debug").submit(pickle.loads(pickle.dumps(run_task)))
    assert job.result() == 0
    assert directory.status() == "completed" and len(directory.attempts()) == 2


@pytest.mark.parametrize(
    ("behaviour", "starts", "says"),
    [
        ("crash", 2, "exit code -9"),
        ("raise", 2, "exit code 1"),
        ("refuse", 0, "exit code 2"),
    ],
)
def test_failures_are_tried_again_within_the_task_and_refusals_are_not(
    lab, interpreter, monkeypatch, behaviour, starts, says
):
    monkeypatch.setenv("FAKE_BEHAVIOUR", f'{{"1": "{behaviour}"}}')
    run_task, directory = task(lab, interpreter, 1)
    with pytest.raises(GivenUpError, match=says):
        run_task()
    assert len(directory.attempts()) == starts


@pytest.mark.slow
def test_a_run_that_crashes_costs_the_others_of_its_job_nothing(lab, interpreter, monkeypatch):
    """It comes first, so a trainer of all would never get to the others."""
    monkeypatch.setenv("FAKE_BEHAVIOUR", '{"1": "crash"}')
    units = lab.frozen_units(SEEDS.format(values=(1, 2, 3)))
    crashing = units[0].run_id
    run_task = RunTask(str(lab.root), tuple(unit.run_id for unit in units), interpreter, 0, 0.1, 30.0)
    with pytest.raises(GivenUpError, match=rf"given up, as said above: {crashing} \(exit code -9\)$"):
        run_task()
    assert [unit.directories[0].status() for unit in units[1:]] == ["completed", "completed"]


@pytest.mark.parametrize(("behaviour", "code"), [("diverge", 70), ("interrupted_once", 0)])
def test_a_divergence_is_a_result_and_an_interruption_by_others_is_free(lab, interpreter, monkeypatch, behaviour, code):
    monkeypatch.setenv("FAKE_BEHAVIOUR", f'{{"1": "{behaviour}"}}')
    run_task, _ = task(lab, interpreter, 1)
    run_task.retries = 0
    assert run_task() == code


def start_submitted(run_task: RunTask, folder: pathlib.Path) -> subprocess.Popen:
    """A process of a Slurm step, as srun starts it."""
    from submitit.core.utils import DelayedSubmission

    submission = DelayedSubmission(run_task)
    submission.set_timeout(60, 3)
    folder.mkdir(exist_ok=True)
    submission.dump(folder / "7_submitted.pkl")
    environment = {**os.environ, "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7", "FAKE_SECONDS": "20"}
    command = [sys.executable, "-m", "submitit.core._submit", str(folder)]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stderr=subprocess.DEVNULL)


def wait_for_a_step(directory) -> None:
    deadline = time.monotonic() + 120
    while not directory.metrics():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "state", "requeued"),
    [
        (signal.SIGUSR2, "", ["requeue 7"]),
        (signal.SIGTERM, "RUNNING", ["requeue 7"]),
        (signal.SIGTERM, "CANCELLED", []),
        (signal.SIGTERM, "COMPLETING", []),
    ],
)
def test_a_warning_saves_and_requeues_unless_slurm_has_decided_already(
    fake_slurm, lab, interpreter, number, state, requeued
):
    """The warning before a limit, that before a preemption, a cancelled task, and one that Slurm requeues itself."""
    (fake_slurm / "squeue.answer").write_text(state)
    run_task, directory = task(lab, interpreter, 1)
    process = start_submitted(run_task, fake_slurm / "jobs")
    wait_for_a_step(directory)
    process.send_signal(number)
    process.wait(timeout=20)
    assert directory.attempts()[0].end["status"] == "interrupted"
    assert calls(fake_slurm, "scontrol") == requeued
    assert len(directory.attempts()) == 1
    # What submitit left for the next start is the same task.
    again = pickle.loads((fake_slurm / "jobs" / "7_submitted.pkl").read_bytes()).function
    assert again == run_task


def test_a_trainer_dies_with_its_task(fake_slurm, lab, interpreter):
    """The kernel tells it, so a task that is killed outright leaves no writer behind."""
    run_task, directory = task(lab, interpreter, 1)
    process = start_submitted(run_task, fake_slurm / "jobs")
    wait_for_a_step(directory)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while directory.status() == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert directory.attempts()[0].end["status"] == "interrupted"
