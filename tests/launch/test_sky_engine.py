"""The sky engine: task files as they were reviewed, the commands that it runs, and what its `run` texts do under bash."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml

from launch.engines.sky import prices, tasks
from launch.engines.sky.engine import SkyEngine
from launch.engines.sky.hardware import find
from scaling import gin_files
from scaling.errors import ConfigError
from tests import process_groups
from tests.conftest import PROJECT_ROOT
from tests.launch import sky_submissions
from tests.launch.sky_submissions import FOLDER, JOBS, NAMES, ROOT, SWEEP_ID
from tests.scaling.training import small_runs

POOL = SkyEngine("v5e-8", region="us-west4", workers=2)
SLICES = SkyEngine("v5e-16", region="us-west4", workers=2)

# SkyPilot's command, as far as the engine speaks to it: it notes how it was called, fails where it is told to, and answers from a file.
SKY = f"""#!{sys.executable}
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["FAKE_SKY"])
with open(folder / "calls.jsonl", "a") as calls:
    calls.write(json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd()}}) + "\\n")
words = " ".join(sys.argv[1:])
refused = (folder / "refused").read_text() if (folder / "refused").exists() else ""
if refused and refused in words:
    sys.exit("\\x1b[31mValueError: no quota for v5e in us-west4\\x1b[0m\\n")
if sys.argv[1] == "check":
    print("A notice before the answer.")
    print((folder / "clouds.json").read_text())
elif sys.argv[1:3] == ["jobs", "queue"]:
    print((folder / "queue.json").read_text())
"""


class FakeSky:
    """The command's folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.clouds({"default": {"GCP": ["compute", "storage"]}})
        self.queue()

    def clouds(self, usable) -> None:
        (self.folder / "clouds.json").write_text(json.dumps(usable))

    def queue(self, *jobs: tuple[int, str, str]) -> None:
        listed = [{"job_id": number, "job_name": name, "status": status} for number, name, status in jobs]
        (self.folder / "queue.json").write_text(json.dumps(listed))

    def refuse(self, words: str) -> None:
        (self.folder / "refused").write_text(words)

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
        return [line["argv"] for line in lines if line["cwd"] == str(PROJECT_ROOT)]


@pytest.fixture
def sky(tmp_path, monkeypatch) -> FakeSky:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sky").write_text(SKY)
    (folder / "sky").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SKY", str(folder))
    return FakeSky(folder)


@pytest.fixture
def no_sky(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def in_folder(engine: SkyEngine, folder: pathlib.Path) -> SkyEngine:
    return gin_files.from_dict(SkyEngine, gin_files.to_dict(engine) | {"folder": str(folder)})


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_configuration_submits_what_was_reviewed(name):
    expected = {path.name: path.read_text() for path in (FOLDER / name).iterdir()}
    assert sky_submissions.files(name) == expected


def test_no_golden_file_outlives_its_configuration():
    assert sorted(path.name for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_traps_of_the_cloud_are_avoided(name):
    """Each of these has cost someone money: what they guard against is in the comments of `hardware` and `tasks`."""
    runtimes = {"tpu-v5litepod": "v2-alpha-tpuv5-lite", "tpu-v6e": "v2-alpha-tpuv6e", "tpu-v5p": "v2-alpha-tpuv5"}
    for text in sky_submissions.submission(name).files.values():
        task = yaml.safe_load(text)
        resources = task["resources"]
        generation = resources["accelerators"].rpartition("-")[0]
        if generation in runtimes:
            assert resources["accelerator_args"]["runtime_version"] == runtimes[generation]
        assert "k8s" in resources["infra"] or "/" in resources["infra"], "the region is not pinned"
        assert not {"cpus", "memory", "reservations"} & resources.keys()
        if "run" in task:
            recovery = resources["job_recovery"]
            assert (recovery["strategy"], recovery["recover_on_exit_codes"]) == ("FAILOVER", [75])
        if "setup" in task:
            assert "--no-deps -r requirements.lock" in task["setup"]


def test_a_plan_needs_no_skypilot_and_writes_nothing(no_sky, tmp_path):
    planned = in_folder(POOL, tmp_path / "sky").plan(JOBS, SWEEP_ID, ROOT)
    assert planned.commands and planned.files and not (tmp_path / "sky").exists()


def test_a_pool_runs_on_all_chips_and_costs_what_its_workers_cost():
    assert POOL.slots == 16 and SLICES.slots == 2
    planned = POOL.plan(JOBS, SWEEP_ID, ROOT)
    # Three jobs on 16 slots: the longest decides. Both workers are paid for, of 8 chips each.
    assert planned.seconds == 7200.0
    assert planned.cost == pytest.approx(2 * 2 * 8 * prices.CHIP_HOUR["v5e"]["us-west4"].spot)
    dear = SkyEngine("v5e-8", region="us-west4", workers=2, dollars_per_hour=10.0).plan(JOBS, SWEEP_ID, ROOT)
    assert dear.cost == pytest.approx(2 * 2 * 10.0)
    assert SkyEngine("H100:8", region="us-central1").plan(JOBS, SWEEP_ID, ROOT).cost is None


def test_several_hosts_share_out_the_jobs_and_lose_none():
    planned = SLICES.plan(JOBS, SWEEP_ID, ROOT)
    found = [line.strip(" \\&") for text in planned.files.values() for line in text.splitlines() if "--run_id" in line]
    assert sorted(found) == sorted(f"--run_id={run_id}" for job in JOBS for run_id in job.run_ids)
    # The longest job alone, the others together.
    assert [text.count("--run_id") for text in planned.files.values()] == [2, 2]


def test_the_size_of_a_slice_is_read_as_google_writes_it():
    """v5p counts TensorCores, two a chip; hosts of v5e hold 8 chips alone and pods are cut otherwise."""
    assert (find("v5p-16", 1, False).chips, find("v5p-16", 1, False).hosts) == (8, "several")
    assert (find("v5p-8", 1, False).chips, find("v5p-8", 1, False).hosts) == (4, "one")
    assert find("v6e-8", 1, False).hosts == "one" and find("v6e-16", 1, False).hosts == "several"
    assert find("v5e-8", 1, True).accelerators == "tpu-v5-lite-podslice:8"
    assert find("H100:8", 2, False).chips == 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hardware": "v9-16"}, "SkyEngine.hardware is 'v9-16'"),
        ({"hardware": "v5e-12"}, "not on offer"),
        ({"hardware": "v5p-7"}, "not on offer"),
        ({"hardware": "v5e-16", "infra": "k8s"}, "several hosts"),
        ({"nodes": 2}, "nodes is 2 for v5e-8"),
        ({"region": ""}, "region is empty for gcp"),
        ({"chips_per_slot": 2}, "chips_per_slot is 2 of the 8 chips"),
        ({"workers": 0}, "workers is 0"),
        ({"hardware": "H100:8", "queued": True}, "queued is set for H100:8"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SkyEngine(**{"region": "us-west4"} | settings)


def test_a_root_that_no_cloud_machine_sees_is_refused():
    with pytest.raises(ConfigError, match="the root runs/study is on this machine"):
        POOL.plan(JOBS, SWEEP_ID, "runs/study")


def test_a_pool_is_applied_before_its_sweep_is_launched(sky, tmp_path, capsys):
    engine = in_folder(POOL, tmp_path / "tasks")
    planned = engine.plan(JOBS, SWEEP_ID, ROOT)
    assert engine.submit(planned) == ["isoflop-ladder-0a1b2c3d"]
    assert sky.calls == [list(command[1:]) for command in planned.commands]
    assert [call[:3] for call in sky.calls] == [["jobs", "pool", "apply"], ["jobs", "launch", "-y"]]
    for path, text in planned.files.items():
        assert pathlib.Path(path).read_text() == text
    assert "sky jobs pool down plumbline-v5e-8-us-west4" in capsys.readouterr().out


def test_what_was_submitted_before_a_refusal_is_cancelled(sky, tmp_path):
    engine = in_folder(SLICES, tmp_path / "tasks")
    planned = engine.plan(JOBS, SWEEP_ID, ROOT)
    sky.refuse("run-01.yaml")
    sky.queue((7, "isoflop-ladder-0a1b2c3d-00", "STARTING"), (3, "another", "RUNNING"))
    with pytest.raises(ConfigError, match="failed with exit code 1: ValueError: no quota for v5e in us-west4"):
        engine.submit(planned)
    assert sky.calls[-1] == ["jobs", "cancel", "-y", "7"]


def test_the_queue_is_read_in_the_engines_words(sky):
    sky.queue(
        (1, "old", "SUCCEEDED"), (2, "old", "FAILED_CONTROLLER"), (3, "busy", "SUCCEEDED"), (4, "busy", "RECOVERING"),
        (5, "next", "PENDING"),
    )  # fmt: skip
    assert POOL.poll(["old", "busy", "next", "lost"]) == {
        "old": "ended",
        "busy": "running",
        "next": "waiting",
        "lost": "unknown",
    }


def test_cancelling_leaves_alone_what_has_ended(sky):
    sky.queue((1, "sweep", "SUCCEEDED"), (2, "sweep", "RUNNING"), (3, "sweep", "PENDING"), (4, "other", "RUNNING"))
    POOL.cancel(["sweep"])
    assert sky.calls[-1] == ["jobs", "cancel", "-y", "2", "3"]
    sky.queue((1, "sweep", "SUCCEEDED"))
    before = len(sky.calls)
    POOL.cancel(["sweep"])
    assert [call[1] for call in sky.calls[before:]] == ["queue"]


def test_credentials_are_looked_at_before_anything_is_written(sky):
    POOL.check(ROOT)
    sky.clouds({"default": {"AWS": ["compute"]}})
    with pytest.raises(ConfigError, match="no credentials for gcp.*run `sky check gcp`"):
        POOL.check(ROOT)
    sky.clouds({"default": {"Kubernetes": ["compute"]}})
    SkyEngine("H100:8", infra="k8s").check(ROOT)


def test_without_the_command_every_action_is_refused(no_sky):
    planned = POOL.plan(JOBS, SWEEP_ID, ROOT)
    for act in (lambda: POOL.check(ROOT), lambda: POOL.submit(planned), lambda: POOL.poll(["x"])):
        with pytest.raises(ConfigError, match="command `sky` of SkyPilot.*uv tool install"):
            act()


def test_an_answer_that_is_no_json_is_refused(sky):
    (sky.folder / "queue.json").write_text("Traceback")
    with pytest.raises(ConfigError, match="printed no JSON"):
        POOL.poll(["x"])


def with_python(home: pathlib.Path, script: str) -> None:
    """A stand-in for the interpreter that `setup` makes."""
    python = home / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (75, 75), (2, 0), (70, 0)])
def test_only_what_another_machine_could_mend_is_tried_again(tmp_path, code, expected):
    with_python(tmp_path, f"exit {code}")
    run = yaml.safe_load(POOL.plan(JOBS, SWEEP_ID, ROOT).files[".cache/sky/isoflop-ladder-0a1b2c3d/sweep.yaml"])["run"]
    for shell in (["bash", "-c", run], ["bash", "-e", "-c", run]):
        ended = subprocess.run(shell, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, check=False)
        assert ended.returncode == expected


def test_a_share_of_the_sweep_is_named_by_skypilots_variables(tmp_path):
    with_python(tmp_path, f'printf "%s\\n" "$@" > {tmp_path}/arguments')
    sweep = yaml.safe_load(POOL.plan(JOBS, SWEEP_ID, ROOT).files[".cache/sky/isoflop-ladder-0a1b2c3d/sweep.yaml"])
    variables = sweep["envs"] | {"SKYPILOT_JOB_RANK": "1", "SKYPILOT_NUM_JOBS": "2", "HOME": str(tmp_path)}
    subprocess.run(["bash", "-c", sweep["run"]], env=variables | {"PATH": os.environ["PATH"]}, check=True)
    assert (tmp_path / "arguments").read_text().split() == [
        *("-m", "launch.worker", f"--root={ROOT}", f"--sweep_id={SWEEP_ID}", "--shard=1/2", "--chips_per_slot=1")
    ]


def test_a_signal_reaches_the_trainer_and_its_exit_code_comes_back(tmp_path):
    """Without it the shell would die at once, and the trainer be left behind or killed before it has saved."""
    with_python(tmp_path, f"trap 'sleep 0.5; exit 75' TERM\ntouch {tmp_path}/started\nwhile true; do sleep 0.05; done")
    run = yaml.safe_load(SLICES.plan(JOBS, SWEEP_ID, ROOT).files[".cache/sky/isoflop-ladder-0a1b2c3d/run-00.yaml"])[
        "run"
    ]
    shell = subprocess.Popen(["bash", "-c", run], env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "ROOT": "x"})
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    shell.send_signal(signal.SIGTERM)
    assert shell.wait(timeout=20) == 75


@pytest.mark.slow
def test_two_nodes_train_one_run_as_the_task_file_says(byte_store, tmp_path):
    """The text of `run` under bash in two processes, with SkyPilot's variables and the project's own interpreter."""
    (tmp_path / "venv").symlink_to(pathlib.Path(sys.prefix))
    (directory,) = small_runs.freeze(tmp_path / "runs", small_runs.config(byte_store, tokens=10 * 512))
    engine = sky_submissions.engine("sky_h100_two_nodes")
    text = tasks.runs(engine._request(), "run", str(tmp_path / "runs"), [directory.path.name])
    task = yaml.safe_load(text)
    assert task["num_nodes"] == 2
    nodes = [
        task["envs"]
        | {"HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
        | {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1", "SKYPILOT_NODE_RANK": str(rank)}
        for rank in range(2)
    ]
    both = process_groups.run_together(["bash", "-c", task["run"]], nodes, tmp_path)
    assert [ended.code for ended in both] == [0, 0], both[0].output + both[1].output
    record = directory.record()
    assert record["status"] == "completed" and record["steps"] == 10
    assert record["device"]["processes"] == 2 and len(directory.attempts()) == 1


@pytest.mark.slow
def test_skypilot_itself_accepts_every_file(tmp_path):
    """The parser of an installed SkyPilot: unknown keys, wrong types and impossible combinations fail there."""
    python = os.environ.get("PLUMBLINE_SKY_PYTHON")
    if not python:
        pytest.skip("PLUMBLINE_SKY_PYTHON names no interpreter with skypilot (CONTRIBUTING.md)")
    files = [str(path) for path in sorted(FOLDER.rglob("*.yaml"))]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    script = pathlib.Path(__file__).with_name("validate_with_skypilot.py")
    ended = subprocess.run(
        [python, str(script), *files], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(ended.stdout.splitlines()) == len(files)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(pathlib.Path(files[0]).read_text().replace("use_spot", "use_spots"))
    refused = subprocess.run(
        [python, str(script), str(wrong)],
        env=environment | {"HOME": str(tmp_path / "2")},
        capture_output=True,
        check=False,
    )
    assert refused.returncode != 0
