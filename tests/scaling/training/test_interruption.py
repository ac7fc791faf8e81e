"""Signals, kills and locks: at most the work since the last checkpoint is lost, and nothing else changes."""

import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from scaling.errors import InterruptedRunError
from scaling.run_directory import BusyError, RunDirectory
from scaling.training.evaluation import HeldOutText
from scaling.training.interruption import Interruption
from scaling.training.run import train_run
from tests.conftest import PROJECT_ROOT
from tests.scaling.training import small_runs

STEPS = 600
CHECKPOINT_STEPS = 50


def start(gin_file: str, root: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "scaling.train", f"--gin_file={gin_file}", f"--root={root}"]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def only_run(root: pathlib.Path) -> RunDirectory:
    (path,) = [path for path in root.iterdir() if path.is_dir()]
    return RunDirectory(path)


def wait_for_step(root: pathlib.Path, step: int) -> None:
    """Waits until the run's curve has passed a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = [RunDirectory(path) for path in root.iterdir() if path.is_dir()] if root.exists() else []
        if runs and any(row["step"] >= step for row in runs[0].metrics()):
            return
        time.sleep(0.02)
    raise TimeoutError(f"no step {step} in {root}")


@pytest.fixture(scope="module")
def uninterrupted(byte_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    gin_file = small_runs.write_gin(folder / "run.gin", byte_store, steps=STEPS, checkpoint_steps=CHECKPOINT_STEPS)
    process = start(gin_file, folder / "runs")
    assert process.wait() == 0, process.stderr.read()
    return gin_file, only_run(folder / "runs")


@pytest.mark.slow
def test_five_kills_at_random_moments_leave_no_trace(uninterrupted, tmp_path):
    gin_file, expected = uninterrupted
    moments = random.Random(0)
    target = 0
    for _ in range(5):
        target += moments.randrange(20, 110)
        process = start(gin_file, tmp_path / "runs")
        wait_for_step(tmp_path / "runs", target)
        time.sleep(moments.random() * 0.05)
        process.kill()
        process.wait()
    resumed = start(gin_file, tmp_path / "runs")
    assert resumed.wait() == 0, resumed.stderr.read()
    run = only_run(tmp_path / "runs")
    assert len(run.attempts()) == 6
    small_runs.assert_identical(small_runs.final_parameters(run), small_runs.final_parameters(expected))
    assert run.record()["losses"] == expected.record()["losses"]
    assert [row["step"] for row in run.metrics()] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_sigterm_saves_exits_75_and_the_same_command_continues(uninterrupted, tmp_path):
    gin_file, expected = uninterrupted
    process = start(gin_file, tmp_path / "runs")
    wait_for_step(tmp_path / "runs", 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert "the same command continues" in process.stderr.read()
    run = only_run(tmp_path / "runs")
    assert run.status() == "interrupted" and run.record() is None
    seen = run.metrics()[-1]["step"]
    assert start(gin_file, tmp_path / "runs").wait() == 0
    # Nothing was computed twice: the second attempt began where the signal stopped the first.
    assert run.attempts()[1].metrics()[0]["step"] == seen + 1
    small_runs.assert_identical(small_runs.final_parameters(run), small_runs.final_parameters(expected))


def test_a_signal_during_evaluation_saves_the_state_in_hand(byte_store, tmp_path, monkeypatch):
    """There is no checkpoint near: without one of this very state the steps before the evaluation would be lost."""
    config = small_runs.config(byte_store)
    every = dataclasses.replace(config.evaluation, every_tokens=10 * 512)
    (directory,) = small_runs.freeze(tmp_path, dataclasses.replace(config, evaluation=every))
    interruption = Interruption()
    evaluate = HeldOutText.evaluate

    def signalled(*arguments):
        interruption.signal_name = "SIGTERM"
        return evaluate(*arguments)

    monkeypatch.setattr(HeldOutText, "evaluate", signalled)
    with pytest.raises(InterruptedRunError, match="with step 10 of 40 saved"):
        train_run(directory, interruption)
    assert InterruptedRunError.exit_code == 75 and directory.status() == "interrupted"
    monkeypatch.undo()
    assert train_run(directory, Interruption()) == "completed"
    assert directory.attempts()[1].first_step == 10


def test_a_run_in_training_cannot_be_started_twice(byte_store, tmp_path):
    (directory,) = small_runs.freeze(tmp_path, small_runs.config(byte_store))
    with directory.lock():
        assert directory.status() == "running"
        with pytest.raises(BusyError, match="another process"):
            train_run(RunDirectory(directory.path), Interruption())
    assert directory.status() == "new"


def test_a_torn_last_line_of_the_curve_is_left_out(byte_store, tmp_path):
    (directory,) = small_runs.freeze(tmp_path, small_runs.config(byte_store))
    attempt = directory.start_attempt({})
    (attempt.path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert directory.metrics() == [{"step": 1, "loss": 2.0}]
    assert directory.status() == "interrupted"


@pytest.fixture
def interruptible():
    """A shell that starts the tests in its background lets them ignore Ctrl-C."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_a_second_signal_kills(interruptible):
    """Someone who presses Ctrl-C twice means it."""
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
