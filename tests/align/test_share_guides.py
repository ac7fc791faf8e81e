"""The scripts of docs/slurm.md and docs/cloud_tpu.md that run a study in shares do what the text around them says."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from launch.engines.sky import tasks
from launch.engines.sky.hardware import find
from tests.conftest import PROJECT_ROOT

# A study that saves for a moment when it is asked to stop.
STUDY = f"""#!{sys.executable}
import pathlib, signal, sys, time
pathlib.Path("arguments").write_text(" ".join(sys.argv[1:]))
def stop(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("running").touch()
if pathlib.Path("exit_code").exists():
    sys.exit(int(pathlib.Path("exit_code").read_text()))
time.sleep(60)
"""


def block(document: str, containing: str) -> str:
    """The code block of a document with some words in it."""
    blocks = re.findall(r"```\w*\n(.*?)```", (PROJECT_ROOT / "docs" / document).read_text(), re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


def executable(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def array_task(tmp_path):
    """The batch script as Slurm would start it as task 2, with a study and an scontrol that take notes."""
    executable(tmp_path / ".venv" / "bin" / "python", STUDY)
    executable(tmp_path / "bin" / "scontrol", '#!/bin/bash\nls saved > /dev/null && echo "$@" > requeued\n')
    (tmp_path / "script.sh").write_text(block("slurm.md", "#SBATCH --job-name=study"))
    variables = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "77"}
    environment = os.environ | variables | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    return lambda: subprocess.Popen(["bash", "script.sh"], cwd=tmp_path, env=environment)


def test_a_task_that_is_warned_saves_and_then_asks_to_be_requeued(array_task, tmp_path):
    task = array_task()
    deadline = time.monotonic() + 60
    while not (tmp_path / "running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    task.send_signal(signal.SIGTERM)
    assert task.wait(timeout=60) == 75
    assert (tmp_path / "requeued").read_text() == "requeue 77_2\n"
    arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("-m align.study --gin_file=configs/align/studies/") and arguments.endswith(
        "--share=2/4"
    )


@pytest.mark.parametrize("code", [0, 2, 70])
def test_a_task_that_is_done_or_refused_is_not(array_task, tmp_path, code):
    (tmp_path / "exit_code").write_text(str(code))
    assert array_task().wait(timeout=60) == code
    assert not (tmp_path / "requeued").exists()


def test_the_number_of_shares_is_that_of_the_array():
    script = block("slurm.md", "#SBATCH --job-name=study")
    assert int(re.search(r"--array=0-(\d+)", script)[1]) + 1 == int(re.search(r"TASK_ID/(\d+)", script)[1])


def test_the_job_of_a_share_is_that_of_a_sweep_but_for_what_it_runs():
    """The same machines, the same recovery, the same way with signals and exit codes."""
    text = block("cloud_tpu.md", "align.study")
    job = yaml.safe_load(text)
    request = tasks.Request(find("v5e-8", 1, False), "gcp/us-west4", True, False, 3, "", {})
    sweep = yaml.safe_load(tasks.sweep(request, "name", "gs://b/runs", "sweep", 1))
    assert job["resources"] == sweep["resources"]
    after = "trainer=$!"
    assert job["run"].partition(after)[2] == sweep["run"].partition(after)[2]
    assert job["run"].splitlines()[0] == sweep["run"].splitlines()[0]
    share = '"${SKYPILOT_JOB_RANK:-0}/${SKYPILOT_NUM_JOBS:-1}"'
    assert f"--share={share}" in job["run"] and f"--shard={share}" in sweep["run"]
    subprocess.run(["bash", "-n"], input=job["run"], text=True, check=True)


def test_skypilot_itself_accepts_the_job(tmp_path):
    python = os.environ.get("PLUMBLINE_SKY_PYTHON")
    if not python:
        pytest.skip("PLUMBLINE_SKY_PYTHON names no interpreter with skypilot (CONTRIBUTING.md)")
    (tmp_path / "study.yaml").write_text(block("cloud_tpu.md", "align.study"))
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    script = PROJECT_ROOT / "tests" / "launch" / "validate_with_skypilot.py"
    ended = subprocess.run(
        [python, str(script), str(tmp_path / "study.yaml")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
