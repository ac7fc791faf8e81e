"""Runs trained side by side compute, write and survive what they would alone."""

import dataclasses
import errno
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scaling.errors import InterruptedRunError
from scaling.optim.config import OptimizerConfig
from scaling.run_config import CheckpointConfig, EvaluationConfig
from scaling.run_directory import RunDirectory
from scaling.training.curve import Curve
from scaling.training.family import train_directories
from scaling.training.interruption import Interruption
from scaling.training.population import train as population_train
from scaling.training.population.feed import DevicePopulationFeed
from scaling.training.population.train import train_population
from scaling.training.run import train_run
from tests.conftest import PROJECT_ROOT
from tests.scaling.training import small_runs

STEPS = 20


def configs(store: str, saved_every: int = 5, **fields):
    """Three runs of one shape that differ in seed, learning rate and weight decay; evaluated on the way and saved every few steps."""
    base = small_runs.config(store, **({"tokens": STEPS * 512} | fields))
    domains = (dataclasses.replace(base.evaluation.domains[0], max_tokens=4096),)
    base = dataclasses.replace(
        base,
        evaluation=dataclasses.replace(base.evaluation, domains=domains, every_tokens=8 * 512),
        checkpoint=CheckpointConfig(every_tokens=saved_every * 512),
    )
    schedule = dataclasses.replace(base.schedule, peak=0.02)
    return [
        base,
        dataclasses.replace(base, seed=1, schedule=schedule),
        dataclasses.replace(base, seed=2, optimizer=OptimizerConfig(weight_decay=0.5)),
    ]


def freeze(root, runs) -> list[RunDirectory]:
    return [directory for run in runs for directory in small_runs.freeze(root, run)]


def paths(directories: list[RunDirectory]) -> list:
    return [directory.path for directory in directories]


@pytest.fixture(scope="module")
def alone(byte_store, tmp_path_factory):
    directories = freeze(tmp_path_factory.mktemp("alone"), configs(byte_store))
    assert set(train_directories(paths(directories)).values()) == {"completed"}
    return directories


@pytest.fixture
def directories(byte_store, tmp_path):
    return freeze(tmp_path / "together", configs(byte_store))


def curve(run: RunDirectory) -> list[dict]:
    """What the rows say of the run, without what they say of the clock."""
    clock = ("tokens_per_second", "device_seconds", "wall_seconds")
    return [{name: value for name, value in row.items() if name not in clock} for row in run.metrics()]


def assert_same(actual: RunDirectory, expected: RunDirectory) -> None:
    """The same run, bit for bit: parameters, held-out losses and curve."""
    assert actual.path.name == expected.path.name
    small_runs.assert_identical(small_runs.final_parameters(actual), small_runs.final_parameters(expected))
    assert actual.record()["losses"] == expected.record()["losses"]
    assert curve(actual) == curve(expected)


def signalled_after(step: int, interruption: Interruption, monkeypatch) -> None:
    """A signal comes when this step is seen to be done; the one after it is on its way already."""
    observe = Curve.observe

    def observe_and_signal(self, observed, *arguments, **share):
        observe(self, observed, *arguments, **share)
        if observed == step:
            interruption.signal_name = "SIGTERM"

    monkeypatch.setattr(Curve, "observe", observe_and_signal)


@pytest.mark.slow
def test_on_cpu_a_member_is_bit_for_bit_the_run_alone(directories, alone):
    assert set(train_directories(paths(directories), population=3).values()) == {"completed"}
    for actual, expected in zip(directories, alone, strict=True):
        assert_same(actual, expected)


def test_a_record_tells_its_share_of_the_device_and_its_own_flops(directories, alone):
    train_directories(paths(directories), population=3)
    records = [directory.record() for directory in directories]
    assert [record["population"] for record in records] == [3, 3, 3]
    assert alone[0].record()["population"] == 1
    assert [record["flops"] for record in records] == [directory.record()["flops"] for directory in alone]
    for record in records:
        # Its pace is that of the population's steps, and a third of their seconds are its own.
        timed = record["device_seconds"] * 3 * record["tokens_per_second"] / record["batch_tokens"]
        assert timed == pytest.approx(STEPS - len([5, 8, 10, 15, 16, 20]), rel=0.01)
    seconds = [record["device_seconds"] for record in records]
    assert max(seconds) < 1.1 * min(seconds)


def test_one_that_diverges_is_recorded_and_the_others_go_on(byte_store, tmp_path, alone):
    first, second, third = configs(byte_store)
    wild = dataclasses.replace(second, schedule=dataclasses.replace(second.schedule, peak=1e20))
    directories = freeze(tmp_path / "together", [first, wild, third])
    (expected,) = freeze(tmp_path / "alone", [wild])
    train_directories([expected.path])
    statuses = train_directories(paths(directories), population=3)
    assert list(statuses.values()) == ["completed", "diverged", "completed"]
    assert_same(directories[0], alone[0])
    assert_same(directories[2], alone[2])
    facts = ("status", "reason", "last_good_step", "steps", "train_loss", "losses", "flops")
    record = directories[1].record()
    assert {name: record[name] for name in facts} == {name: expected.record()[name] for name in facts}
    assert 0 < record["last_good_step"] < STEPS and directories[1].status() == "diverged"


def test_a_signal_saves_all_at_one_step_and_each_may_go_on_alone(directories, alone, monkeypatch, tmp_path):
    interruption = Interruption()
    signalled_after(5, interruption, monkeypatch)
    with pytest.raises(InterruptedRunError, match="3 runs side by side stopped on SIGTERM with step 7 of 20 saved"):
        train_population(directories, interruption, "map")
    assert [directory.status() for directory in directories] == ["interrupted"] * 3
    assert [[path.name for path in directory.checkpoints.iterdir()] for directory in directories] == [["7"]] * 3
    monkeypatch.undo()
    single = RunDirectory(shutil.copytree(directories[1].path, tmp_path / directories[1].path.name))
    train_directories([single.path])
    train_directories(paths(directories), population=3)
    for actual, expected in zip([*directories, single], [*alone, alone[1]], strict=True):
        assert_same(actual, expected)
        assert actual.attempts()[1].first_step == 7
    assert single.record()["population"] == 1 and directories[1].record()["population"] == 3


def test_those_that_are_ahead_wait_for_the_rest(directories, alone, monkeypatch):
    """A kill in the middle of saving leaves members at different steps; none of them has to go back."""
    interruption = Interruption()
    signalled_after(10, interruption, monkeypatch)
    with pytest.raises(InterruptedRunError):
        train_run(directories[1], interruption)
    monkeypatch.undo()
    train_directories(paths(directories), population=3)
    for actual, expected in zip(directories, alone, strict=True):
        assert_same(actual, expected)
    assert [directory.attempts()[-1].first_step for directory in directories] == [0, 12, 0]


def test_a_signal_during_evaluation_saves_every_state_in_hand(directories, monkeypatch):
    interruption = Interruption()
    evaluate = population_train.HeldOutText.evaluate_members

    def signalled(*arguments):
        interruption.signal_name = "SIGTERM"
        return evaluate(*arguments)

    monkeypatch.setattr(population_train.HeldOutText, "evaluate_members", signalled)
    with pytest.raises(InterruptedRunError, match="with step 8 of 20 saved"):
        train_population(directories, interruption, "map")
    assert [[path.name for path in directory.checkpoints.iterdir()] for directory in directories] == [["8"]] * 3


@pytest.mark.slow
def test_a_fault_of_one_costs_the_others_nothing(directories, alone, monkeypatch, capsys):
    """One is held by another process, another's disk is full in the middle of the training."""
    write_row = Curve.write_row

    def full_disk(self, row):
        if directories[2].path.name in str(self._rows._path) and row["step"] == 9:
            raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")
        write_row(self, row)

    monkeypatch.setattr(Curve, "write_row", full_disk)
    with directories[1].lock():
        statuses = train_directories(paths(directories), population=3)
    assert list(statuses.values()) == ["completed", "busy", "bad_input"]
    assert_same(directories[0], alone[0])
    printed = capsys.readouterr().err
    assert "is being trained by another process" in printed and "No space left on device. Remedy: " in printed
    assert [directory.status() for directory in directories[1:]] == ["new", "failed"]
    monkeypatch.undo()
    train_directories(paths(directories), population=3)
    for actual, expected in zip(directories, alone, strict=True):
        assert_same(actual, expected)


def test_what_breaks_the_population_is_the_end_of_every_attempt(directories, monkeypatch, capsys):
    def bug(*arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(DevicePopulationFeed, "__call__", bug)
    assert set(train_directories(paths(directories), population=3).values()) == {"failed"}
    assert [directory.attempts()[-1].end["reason"] for directory in directories] == ["a bug"] * 3
    assert capsys.readouterr().err.count("a bug") >= 3
    for directory in directories:
        with directory.lock():
            pass


def test_a_full_second_evaluation_that_is_not_finite_sets_one_member_aside(directories, monkeypatch):
    """The update that breaks a model may be seen by no later step, only by the evaluation."""
    rate = population_train.run.learning_rate
    broken = directories[1].spec.run_id

    def learning_rate(spec, step):
        return 1e38 if spec.run_id == broken and step == STEPS - 1 else rate(spec, step)

    monkeypatch.setattr(population_train.run, "learning_rate", learning_rate)
    statuses = train_directories(paths(directories), population=3)
    assert list(statuses.values()) == ["completed", "diverged", "completed"]
    assert "on speeches" in directories[1].record()["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["host", "device"])
def test_batches_read_ahead_and_vmap_give_the_same_runs(byte_store, tmp_path, alone, placement):
    """Host batches change nothing; vmap, the form of accelerators, rounds otherwise."""
    runs = configs(byte_store)
    runs = [dataclasses.replace(run, data=dataclasses.replace(run.data, placement=placement)) for run in runs]
    directories = freeze(tmp_path, runs)
    form = "map" if placement == "host" else "vmap"
    assert set(train_population(directories, Interruption(), form).values()) == {"completed"}
    for actual, expected in zip(directories, alone, strict=True):
        if form == "map":
            assert_same(actual, expected)
        values = small_runs.final_parameters(expected)
        for name, value in small_runs.final_parameters(actual).items():
            np.testing.assert_allclose(value, values[name], atol=2e-3, err_msg=name)
        losses = [run.record()["losses"]["speeches"]["nats_per_token"] for run in (actual, expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_trunks_train_side_by_side_and_then_their_branches(byte_store, tmp_path):
    budgets = (20 * 512, 40 * 512)
    runs = [
        small_runs.config(byte_store, branches=budgets, seed=seed, evaluation=EvaluationConfig()) for seed in (0, 1)
    ]
    together, alone = ([small_runs.freeze(tmp_path / place, run) for run in runs] for place in ("together", "alone"))
    trunks = [family[0].path for family in together]
    statuses = train_directories(trunks, population=2)
    assert len(statuses) == 6 and set(statuses.values()) == {"completed"}
    train_directories([family[0].path for family in alone])
    for actual, expected in zip(sum(together, []), sum(alone, []), strict=True):
        assert_same(actual, expected)
        assert actual.record()["population"] == 2
        assert actual.record()["own_flops"] == expected.record()["own_flops"]


def start(directories: list[RunDirectory], population: str) -> subprocess.Popen:
    words = [f"--run_dir={directory.path}" for directory in directories]
    command = [sys.executable, "-m", "scaling.train", *words, f"--population={population}"]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(directory: RunDirectory, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not any(row["step"] >= step for row in directory.metrics()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_and_terminated_processes_leave_no_trace(byte_store, tmp_path):
    runs = configs(byte_store, saved_every=10, tokens=80 * 512)[:2]
    # A signal between the saving of a state and its evaluation leaves that out of the curve, alone and side by side.
    runs = [dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, every_tokens=0)) for run in runs]
    expected, actual = freeze(tmp_path / "alone", runs), freeze(tmp_path / "together", runs)
    assert set(train_directories(paths(expected)).values()) == {"completed"}
    process = start(actual, "2")
    wait_for_step(actual[0], 15, process)
    process.kill()
    process.wait()
    process = start(actual, "2")
    wait_for_step(actual[0], 40, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 75
    assert "the same command continues" in process.stderr.read()
    assert start(actual, "2").wait() == 0
    for found, wanted in zip(actual, expected, strict=True):
        assert len(found.attempts()) == 3
        assert_same(found, wanted)


def test_a_population_that_is_no_number_is_refused():
    command = [sys.executable, "-m", "scaling.train", "--run_dir=nowhere", "--population=many"]
    result = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "--population is 'many'" in result.stderr and "Remedy: " in result.stderr
