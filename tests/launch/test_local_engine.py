"""The local engine against trainers that crash, diverge, hang on, and are killed."""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from launch import processes, states
from launch.claims import try_claim
from launch.local import LocalEngine
from launch.plan import Task
from scaling.errors import ConfigError

FAKE_TRAINER = [sys.executable, str(pathlib.Path(__file__).with_name("fake_trainer.py"))]
SEEDS = "sweep_config.Sweep.parts = (@sweep_config.Part(),)\nsweep_config.Part.axes = (@sweep_config.Grid(),)\n"


def units_of_seeds(lab, count: int) -> list[states.Unit]:
    text = f'sweep_config.Grid.binding = "RunConfig.seed"\nsweep_config.Grid.values = {tuple(range(count))}\n'
    return lab.frozen_units(SEEDS + text)


def engine(lab, monkeypatch, behaviour: str = "{}", slots: int = 2, seconds: float = 0.0, **options) -> LocalEngine:
    monkeypatch.setenv("FAKE_BEHAVIOUR", behaviour)
    monkeypatch.setenv("FAKE_SECONDS", str(seconds))
    return LocalEngine(str(lab.root), slots, command=FAKE_TRAINER, poll_seconds=0.02, **options)


def statuses(units) -> list[str]:
    return [states.unit_status(unit) for unit in units]


def test_a_crash_is_retried_alone_and_the_rest_of_its_group_goes_on(lab, monkeypatch):
    units = units_of_seeds(lab, 4)
    outcome = engine(lab, monkeypatch, '{"1": "crash_once"}').run([Task("g", tuple(units), 1.0)])
    assert statuses(units) == ["completed"] * 4 and not outcome.failures
    starts = collections.Counter(lab.started())
    assert [starts[unit.run_id] for unit in units] == [1, 2, 1, 1]


def test_a_run_that_always_crashes_is_given_up_after_its_retries(lab, monkeypatch):
    units = units_of_seeds(lab, 3)
    outcome = engine(lab, monkeypatch, '{"0": "crash"}', retries=1).run([Task("g", tuple(units), 1.0)])
    assert statuses(units) == ["interrupted", "completed", "completed"]
    assert list(outcome.failures) == [units[0].run_id]
    failure = outcome.failures[units[0].run_id]
    assert "SIGKILL" in failure.reason and failure.log.exists() and not failure.bad_input
    assert collections.Counter(lab.started())[units[0].run_id] == 2


def test_a_run_that_raises_is_retried_and_reported_in_one_line(lab, monkeypatch):
    units = units_of_seeds(lab, 3)
    outcome = engine(lab, monkeypatch, '{"1": "raise"}', retries=1).run([Task("g", tuple(units), 1.0)])
    assert statuses(units) == ["completed", "failed", "completed"]
    assert outcome.failures[units[1].run_id].reason == "exit code 1: a bug in two lines"


def test_divergence_is_an_outcome_that_is_not_retried(lab, monkeypatch):
    units = units_of_seeds(lab, 3)
    outcome = engine(lab, monkeypatch, '{"0": "diverge"}').run([Task("g", tuple(units), 1.0)])
    assert statuses(units) == ["diverged", "completed", "completed"] and not outcome.failures
    assert len(lab.started()) == 3


def test_bad_input_is_not_retried_and_its_line_is_kept(lab, monkeypatch):
    units = units_of_seeds(lab, 2)
    outcome = engine(lab, monkeypatch, '{"1": "refuse"}').run([Task("g", tuple(units), 1.0)])
    assert statuses(units) == ["completed", "new"]
    failure = outcome.failures[units[1].run_id]
    assert failure.bad_input and "the store is altered" in failure.reason


def test_each_refused_run_of_a_group_keeps_its_own_line(lab, monkeypatch):
    """The last line of their common log only counts them."""
    units = units_of_seeds(lab, 3)
    outcome = engine(lab, monkeypatch, '{"0": "refuse", "1": "refuse"}').run([Task("g", tuple(units), 1.0)])
    reasons = {run_id: failure.reason for run_id, failure in outcome.failures.items()}
    line = "the store is altered. Remedy: write it again."
    assert reasons == {units[0].run_id: line, units[1].run_id: line}


def test_a_refused_run_does_not_keep_the_reason_of_an_earlier_failure(lab, monkeypatch):
    (unit,) = units_of_seeds(lab, 1)
    unit.directories[0].start_attempt({"first_step": 0}).finish("failed", reason="a bug since mended")
    outcome = engine(lab, monkeypatch, '{"0": "refuse"}').run([Task("g", (unit,), 1.0)])
    assert "the store is altered" in outcome.failures[unit.run_id].reason


def test_a_run_that_an_earlier_driver_left_is_not_blamed_for_a_crash(lab, monkeypatch):
    units = units_of_seeds(lab, 2)
    units[1].directories[0].start_attempt({"first_step": 0}).finish("interrupted", reason="SIGTERM")
    outcome = engine(lab, monkeypatch, '{"0": "crash"}', retries=0).run([Task("g", tuple(units), 1.0)])
    assert list(outcome.failures) == [units[0].run_id]
    assert statuses(units) == ["interrupted", "completed"]


def test_an_interruption_from_elsewhere_costs_no_retry(lab, monkeypatch):
    units = units_of_seeds(lab, 2)
    outcome = engine(lab, monkeypatch, '{"0": "interrupted_once"}', retries=0).run([Task("g", tuple(units), 1.0)])
    assert statuses(units) == ["completed", "completed"] and not outcome.failures


def test_finished_runs_are_skipped(lab, monkeypatch):
    units = units_of_seeds(lab, 3)
    engine(lab, monkeypatch).run([Task("g", tuple(units[:2]), 1.0)])
    engine(lab, monkeypatch).run([Task("g", tuple(units), 1.0)])
    assert sorted(lab.started()) == sorted(unit.run_id for unit in units)


def test_a_trunk_is_one_unit_with_its_branches(lab, monkeypatch):
    text = 'sweep_config.Grid.binding = "BRANCHES"\nsweep_config.Grid.values = ((3_200, 6_400),)\n'
    (unit,) = lab.frozen_units(SEEDS + text)
    engine(lab, monkeypatch).run([Task("g", (unit,), 1.0)])
    assert statuses([unit]) == ["completed"]
    assert lab.started() == [spec.run_id for spec in unit.specs]
    assert states.tokens_done(unit) == sum(states.own_tokens(spec) for spec in unit.specs)


def test_slots_run_at_the_same_time_each_on_its_own_cores(lab, monkeypatch):
    units = units_of_seeds(lab, 2)
    cores = processes.available_cores()
    if len(cores) < 2:
        pytest.skip("needs two cores")
    started = time.monotonic()
    engine(lab, monkeypatch, seconds=1.5).run([Task("g", (unit,), 1.0) for unit in units])
    assert time.monotonic() - started < 2.9
    pinned = [line.split(maxsplit=2)[2] for line in (lab.root / "journal.txt").read_text().splitlines()]
    assert sorted(pinned) == sorted(str(processes.cores_of_slot(slot, 2, cores)) for slot in range(2))


def test_a_run_that_another_driver_claims_is_waited_for_and_not_trained_twice(lab, monkeypatch):
    units = units_of_seeds(lab, 2)
    claim = try_claim(lab.root / "logs" / "claims", units[0].run_id)
    waited = []

    def release(snapshot):
        if snapshot.waiting_for_others and not waited:
            waited.append(True)
            claim.close()

    engine(lab, monkeypatch).run([Task("g", tuple(units), 1.0)], release)
    assert waited and statuses(units) == ["completed", "completed"]
    assert collections.Counter(lab.started()) == {unit.run_id: 1 for unit in units}


def test_a_run_that_a_trainer_without_claim_holds_is_waited_for(lab, monkeypatch):
    """Someone may train a directory of the sweep by hand."""
    (unit,) = units_of_seeds(lab, 1)
    waited = []
    with unit.directories[0].lock():
        stop = engine(lab, monkeypatch)
        with pytest.raises(TimeoutError):
            stop.run([Task("g", (unit,), 1.0)], lambda snapshot: _give_up_after(waited, snapshot))
    assert waited and not lab.started()


def _give_up_after(waited, snapshot):
    assert snapshot.waiting_for_others
    waited.append(True)
    if len(waited) == 5:
        raise TimeoutError


def test_a_claim_lasts_as_long_as_a_process_that_inherited_it(tmp_path):
    """After kill -9 of a driver its trainer may still be saving; nobody else may begin before it has left."""
    claim = try_claim(tmp_path, "run")
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(claim.descriptor,))
    claim.close()
    assert try_claim(tmp_path, "run") is None
    heir.communicate(b"\n")
    again = try_claim(tmp_path, "run")
    assert again is not None
    again.close()


def test_an_error_in_the_driver_stops_its_trainers(lab, monkeypatch):
    (unit,) = units_of_seeds(lab, 1)

    def fail_when_started(snapshot):
        if lab.started():
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        engine(lab, monkeypatch, seconds=30.0).run([Task("g", (unit,), 1.0)], fail_when_started)
    pid = int((lab.root / "journal.txt").read_text().split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert statuses([unit]) == ["interrupted"]


def test_signal_handlers_are_restored(lab, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    engine(lab, monkeypatch).run([])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("root", "slots"), [("gs://bucket/runs", 1), ("runs", 0)])
def test_what_the_engine_cannot_do_is_refused(root, slots):
    with pytest.raises(ConfigError):
        LocalEngine(root, slots)


def test_cores_are_shared_out_evenly():
    assert [processes.cores_of_slot(slot, 2, range(4)) for slot in range(2)] == [[0, 1], [2, 3]]
    assert [processes.cores_of_slot(slot, 3, [4, 5]) for slot in range(3)] == [[4], [5], [4]]
    assert [processes.cores_of_slot(slot, 2, range(5)) for slot in range(2)] == [[0, 1], [2, 3, 4]]


def test_environment_of_a_slot(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    one, two = processes.trainer_environment([0]), processes.trainer_environment([0, 1])
    assert one["XLA_FLAGS"] == "--xla_a=1 --xla_cpu_multi_thread_eigen=false" and one["OMP_NUM_THREADS"] == "1"
    assert two["XLA_FLAGS"] == "--xla_a=1" and two["OMP_NUM_THREADS"] == "2"
    assert one["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
