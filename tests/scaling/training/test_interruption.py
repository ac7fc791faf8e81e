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
from scaling.training.evaluation import DocumentSums, HeldOutText
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


def test_a_signal_during_evaluation_is_seen_after_the_batch_in_hand(byte_store, tmp_path, monkeypatch):
    """One batch more would be one too many, and what was measured before is measured again."""
    config = small_runs.config(byte_store)
    (directory,) = small_runs.freeze(tmp_path / "stopped", config)
    (reference,) = small_runs.train(tmp_path / "whole", config)
    interruption, evaluated = Interruption(), []
    add = DocumentSums.add

    def signalled(*arguments):
        evaluated.append(1)
        if len(evaluated) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        add(*arguments)

    monkeypatch.setattr(DocumentSums, "add", signalled)
    with interruption, pytest.raises(InterruptedRunError, match="SIGTERM with step 40 of 40 saved"):
        train_run(directory, interruption)
    assert len(evaluated) == 3
    monkeypatch.undo()
    assert train_run(directory, Interruption()) == "completed"
    assert directory.attempts()[1].first_step == 40
    assert directory.record()["losses"] == reference.record()["losses"]


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGUSR1", marks=pytest.mark.slow)])
def test_a_signal_during_compilation_ends_the_process_at_once(byte_store, tmp_path, name):
    """A compilation of minutes would outlast any notice, and before the first step there is nothing to save."""
    (directory,) = small_runs.freeze(tmp_path, small_runs.config(byte_store))
    command = [sys.executable, "-m", "tests.scaling.training.blocked_compilation", str(directory.path)]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.Signals[name])
    _, said = process.communicate(timeout=20)
    assert process.returncode == 75 and f"stopped on {name} before its first step" in said
    assert directory.attempts()[0].end["status"] == "interrupted" and directory.status() == "interrupted"
    assert not directory.heartbeat.exists()


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


def test_schedulers_may_repeat_themselves():
    """Slurm signals every process of a task, and the task's own program passes the notice on: the second must not kill what is being saved."""
    with Interruption() as interruption:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        assert interruption.requested and interruption.signal_name == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_user_signal_that_was_ignored_at_the_start_stays_ignored():
    previous = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGUSR2, previous)


def test_a_notice_before_the_block_leaves_too(monkeypatch):
    """Between the handlers and the first compilation the stores are read, which takes a while."""
    left = []
    monkeypatch.setattr("os._exit", left.append)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGUSR1)
        with interruption.leaving_at_once(left.append):
            pass
    assert left == ["SIGTERM", 75]
