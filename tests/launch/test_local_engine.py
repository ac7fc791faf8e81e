"""The local engine against trainers that crash, diverge, hang on, and are killed."""

import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from launch import processes, states
from launch.claims import try_claim
from launch.engines.engine import Job
from launch.engines.local.dask_pool import DaskPool
from launch.engines.local.dispatcher import Dispatcher, Outcome, Settings
from launch.engines.local.pools import Pool, SerialPool
from launch.engines.local.slots import Slot
from tests.launch.conftest import FAKES, PROJECT_ROOT, SEEDS


def units_of_seeds(lab, count: int) -> list[states.Unit]:
    return lab.frozen_units(SEEDS.format(values=tuple(range(count))))


def job(*units: states.Unit, name: str = "g") -> Job:
    return Job(name, tuple(unit.run_id for unit in units), seconds=1.0, flops=1.0, memory_bytes=1.0)


def settings(lab, behaviour: str = "{}", seconds: float = 0.0, **options) -> Settings:
    return Settings(
        root=str(lab.root),
        logs=lab.root / "logs",
        slot_locks=str(lab.folder / "slots"),
        command=(
            *("env", f"PYTHONPATH={FAKES}:{PROJECT_ROOT}", f"FAKE_BEHAVIOUR={behaviour}", f"FAKE_SECONDS={seconds}"),
            *processes.run_one_command(),
        ),
        **{"poll_seconds": 0.02, "backoff_seconds": 0.0, **options},
    )


def run(lab, jobs, behaviour: str = "{}", on_tick=lambda *_: None, pool: Pool | None = None, **options) -> Outcome:
    own = pool or SerialPool(Slot(0))
    try:
        return Dispatcher(settings(lab, behaviour, **options), own).run(jobs, on_tick)
    finally:
        if pool is None:
            own.close()


def statuses(units) -> list[str]:
    return [states.unit_status(unit) for unit in units]


def test_a_crash_is_retried_alone_and_the_rest_of_its_group_goes_on(lab):
    units = units_of_seeds(lab, 4)
    outcome = run(lab, [job(*units)], '{"1": "crash_once"}')
    assert statuses(units) == ["completed"] * 4 and not outcome.failures
    starts = collections.Counter(lab.started())
    assert [starts[unit.run_id] for unit in units] == [1, 2, 1, 1]


def test_a_run_that_always_crashes_is_given_up_after_its_retries(lab):
    units = units_of_seeds(lab, 3)
    outcome = run(lab, [job(*units)], '{"0": "crash"}', retries=1)
    assert statuses(units) == ["interrupted", "completed", "completed"]
    assert list(outcome.failures) == [units[0].run_id]
    failure = outcome.failures[units[0].run_id]
    assert "SIGKILL" in failure.reason and pathlib.Path(failure.log).exists() and not failure.bad_input
    assert collections.Counter(lab.started())[units[0].run_id] == 2


def test_a_run_that_raises_is_retried_and_reported_in_one_line(lab):
    units = units_of_seeds(lab, 3)
    outcome = run(lab, [job(*units)], '{"1": "raise"}', retries=1)
    assert statuses(units) == ["completed", "failed", "completed"]
    assert outcome.failures[units[1].run_id].reason == "exit code 1: a bug in two lines"


def test_divergence_is_an_outcome_that_is_not_retried(lab):
    units = units_of_seeds(lab, 3)
    outcome = run(lab, [job(*units)], '{"0": "diverge"}')
    assert statuses(units) == ["diverged", "completed", "completed"] and not outcome.failures
    assert len(lab.started()) == 3


def test_bad_input_is_not_retried_and_its_line_is_kept(lab):
    units = units_of_seeds(lab, 2)
    outcome = run(lab, [job(*units)], '{"1": "refuse"}')
    assert statuses(units) == ["completed", "new"]
    failure = outcome.failures[units[1].run_id]
    assert failure.bad_input and "the store is altered" in failure.reason


def test_each_refused_run_of_a_group_keeps_its_own_line(lab):
    """The last line of their common log only counts them."""
    units = units_of_seeds(lab, 3)
    outcome = run(lab, [job(*units)], '{"0": "refuse", "1": "refuse"}')
    reasons = {run_id: failure.reason for run_id, failure in outcome.failures.items()}
    line = "the store is altered. Remedy: write it again."
    assert reasons == {units[0].run_id: line, units[1].run_id: line}


def test_a_refused_run_does_not_keep_the_reason_of_an_earlier_failure(lab):
    (unit,) = units_of_seeds(lab, 1)
    unit.directories[0].start_attempt({"first_step": 0}).finish("failed", reason="a bug since mended")
    outcome = run(lab, [job(unit)], '{"0": "refuse"}')
    assert "the store is altered" in outcome.failures[unit.run_id].reason


def test_a_run_that_an_earlier_driver_left_is_not_blamed_for_a_crash(lab):
    units = units_of_seeds(lab, 2)
    units[1].directories[0].start_attempt({"first_step": 0}).finish("interrupted", reason="SIGTERM")
    outcome = run(lab, [job(*units)], '{"0": "crash"}', retries=0)
    assert list(outcome.failures) == [units[0].run_id]
    assert statuses(units) == ["interrupted", "completed"]


def test_an_interruption_from_elsewhere_costs_no_retry(lab):
    units = units_of_seeds(lab, 2)
    outcome = run(lab, [job(*units)], '{"0": "interrupted_once"}', retries=0)
    assert statuses(units) == ["completed", "completed"] and not outcome.failures


def test_finished_runs_are_skipped(lab):
    units = units_of_seeds(lab, 3)
    run(lab, [job(*units[:2])])
    run(lab, [job(*units)])
    assert sorted(lab.started()) == sorted(unit.run_id for unit in units)


def test_a_trunk_is_one_unit_with_its_branches(lab):
    (unit,) = lab.frozen_units(SEEDS.replace("RunConfig.seed", "BRANCHES").format(values="((3_200, 6_400),)"))
    run(lab, [job(unit)])
    assert statuses([unit]) == ["completed"]
    assert lab.started() == [spec.run_id for spec in unit.specs]
    assert states.tokens_done(unit) == sum(states.own_tokens(spec) for spec in unit.specs)


def test_a_run_that_another_driver_claims_is_waited_for_and_not_trained_twice(lab):
    units = units_of_seeds(lab, 2)
    claim = try_claim(lab.root / "logs" / "claims", units[0].run_id)
    waited = []

    def release(snapshot, outcome):
        if snapshot.waiting_for_others and not waited:
            waited.append(True)
            claim.close()

    run(lab, [job(*units)], on_tick=release)
    assert waited and statuses(units) == ["completed", "completed"]
    assert collections.Counter(lab.started()) == {unit.run_id: 1 for unit in units}


def test_a_run_that_a_trainer_without_claim_holds_is_waited_for(lab):
    """Someone may train a directory of the sweep by hand."""
    (unit,) = units_of_seeds(lab, 1)
    waited = []
    with unit.directories[0].lock():
        with pytest.raises(TimeoutError):
            run(lab, [job(unit)], on_tick=lambda snapshot, _: _give_up_after(waited, snapshot))
    assert waited and not lab.started()


def _give_up_after(waited, snapshot):
    waited.append(snapshot.waiting_for_others)
    if sum(waited) == 5:
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


def test_an_error_in_the_driver_stops_its_trainers(lab):
    (unit,) = units_of_seeds(lab, 1)

    def fail_when_started(*_):
        if lab.started():
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(lab, [job(unit)], seconds=30.0, on_tick=fail_when_started)
    pid = int((lab.root / "journal.txt").read_text().split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert statuses([unit]) == ["interrupted"]


@pytest.mark.parametrize("dask", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["serial", "dask"])
def test_what_waits_for_a_slot_starts_longest_first(lab, tmp_path, dask):
    units = units_of_seeds(lab, 5)
    pool = DaskPool([Slot(0)], str(tmp_path)) if dask else SerialPool(Slot(0))
    jobs = [dataclasses.replace(job(unit, name=f"j{i}"), seconds=1.0 + i) for i, unit in enumerate(units)]
    try:
        run(lab, jobs, pool=pool, seconds=1.0)
    finally:
        pool.close()
    # The slot was free when the first came, so that did not wait.
    order = [next(i for i, unit in enumerate(units) if unit.run_id == run_id) for run_id in lab.started()]
    assert order[1:] == sorted(order[1:], reverse=True) and set(order) == set(range(5))


def test_signal_handlers_are_restored(lab):
    before = signal.getsignal(signal.SIGTERM)
    run(lab, [])
    assert signal.getsignal(signal.SIGTERM) is before


def test_pauses_after_crashes_double(lab):
    (unit,) = units_of_seeds(lab, 1)
    starts = []
    outcome = run(
        lab,
        [job(unit)],
        '{"0": "crash"}',
        retries=2,
        backoff_seconds=0.4,
        on_tick=lambda *_: starts.append((time.monotonic(), len(lab.started()))),
    )
    begins = [next(when for when, count in starts if count >= number) for number in (1, 2, 3)]
    assert list(outcome.failures) and begins[1] - begins[0] > 0.4 and begins[2] - begins[1] > 0.8


def test_environment_of_a_slot():
    variables = {"XLA_FLAGS": "--xla_a=1", "JAX_COMPILATION_CACHE_DIR": "/elsewhere"}
    one, two = processes.trainer_environment(variables, [0]), processes.trainer_environment(variables, [0, 1])
    assert one["XLA_FLAGS"] == "--xla_a=1 --xla_cpu_multi_thread_eigen=false" and one["OMP_NUM_THREADS"] == "1"
    assert two["XLA_FLAGS"] == "--xla_a=1" and two["OMP_NUM_THREADS"] == "2"
    assert one["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
