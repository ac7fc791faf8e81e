"""Slots through Dask: masks, kills of workers and of the driver, the same command twice; nothing is lost, repeated or left behind."""

import collections
import json
import pathlib
import signal

import psutil
import pytest

from launch import states
from launch.engines.local.dask_pool import DaskPool
from launch.engines.local.dispatcher import Dispatcher
from launch.engines.local.slots import make_slots
from tests.launch.conftest import ended
from tests.launch.test_local_engine import job, settings, statuses, units_of_seeds
from tests.launch.test_sweep_verb import is_alive, pids, wait_until

STEPS = 20


def steps_of(lab, run_id: str) -> list[int]:
    """The steps of a run in the order in which its attempts took them."""
    rows = [path.read_text().splitlines() for path in sorted((lab.root / run_id).glob("attempts/*/metrics.jsonl"))]
    return [json.loads(row)["step"] for attempt in rows for row in attempt]


@pytest.mark.slow
def test_every_mask_is_used_and_never_by_two_trainers_at_once(lab, tmp_path):
    units = units_of_seeds(lab, 40)
    pool = DaskPool(make_slots(8, "cuda", tuple("01234567"), chips_per_slot=1), str(tmp_path))
    try:
        jobs = [job(unit, name=f"j{index}") for index, unit in enumerate(units)]
        Dispatcher(settings(lab, seconds=0.4), pool).run(jobs)
    finally:
        pool.close()
    assert set(statuses(units)) == {"completed"}
    uses = collections.Counter(line[3] for line in lab.journal())
    assert set(uses) == set("01234567") and sum(uses.values()) == 40
    assert {line[4] for line in lab.journal()} == {"alone"}


@pytest.mark.slow
def test_a_killed_worker_costs_no_step_and_its_mask_stays_with_the_trainer_that_is_still_saving(lab, tmp_path):
    units = units_of_seeds(lab, 3)
    pool = DaskPool(make_slots(2, "cuda", ("0", "1"), chips_per_slot=1), str(tmp_path))
    killed = []

    def kill_a_worker(*_):
        if len(lab.journal()) == 2 and not killed:
            killed.append(psutil.Process(int(lab.journal()[0][1])).parent())
            killed[0].kill()

    try:
        jobs = [job(unit, name=f"j{index}") for index, unit in enumerate(units)]
        outcome = Dispatcher(settings(lab, seconds=3.0), pool).run(jobs, kill_a_worker)
    finally:
        pool.close()
    assert killed and not outcome.failures and set(statuses(units)) == {"completed"}
    assert len(lab.journal()) == 4 and {line[4] for line in lab.journal()} == {"alone"}
    every = [step for unit in units for step in steps_of(lab, unit.run_id)]
    assert set(collections.Counter(every).values()) == {3}, "a step of a run is missing or was repeated"


@pytest.mark.slow
def test_sixty_flaky_runs_two_commands_at_once_and_kills_lose_and_repeat_nothing(lab, start_sweep):
    gin_file = lab.seeds(*range(60))
    command = (f"--gin_file={gin_file}", "--engine=local", "--slots=3", "--retries=4")
    options = {"behaviour": {"*": "flaky"}, "seconds": 0.4}
    first, second = (start_sweep(*command, **options) for _ in range(2))
    wait_until(lambda: recorded(lab) >= 5, timeout=180)
    dask_worker(first).kill()
    wait_until(lambda: recorded(lab) >= 15, timeout=180)
    for process in (worker_verb(first), psutil.Process(first.pid)):
        process.kill()
    first.communicate()
    wait_until(lambda: recorded(lab) >= 30, timeout=180)
    second.send_signal(signal.SIGTERM)
    assert ended(second, timeout=120).code == 75
    wait_until(lambda: not any(is_alive(pid) for pid in pids(lab)), timeout=20)
    before, missing = len(lab.journal()), {path.name for path in run_paths(lab) if not (path / "record.json").exists()}
    assert missing, "it was over before it could be interrupted"
    last = ended(start_sweep(*command, **options), timeout=240)
    assert last.code == 0, last.out + last.err
    assert {line[0] for line in lab.journal()[before:]} == missing
    for path in run_paths(lab):
        last_step = states.unit_of(str(lab.root), path.name).specs[0].last_step
        expected = [(index + 1) * last_step // STEPS for index in range(STEPS)]
        assert steps_of(lab, path.name) == expected, f"{path.name}: a step is missing, doubled or repeated"
    assert not any(is_alive(pid) for pid in pids(lab))


def run_paths(lab) -> list[pathlib.Path]:
    return [path.parent for path in lab.root.glob("*/spec.json")]


@pytest.mark.slow
def test_nothing_listens_where_another_machine_could_reach_it(tmp_path):
    pool = DaskPool(make_slots(1, "cpu", ("0",), chips_per_slot=1), str(tmp_path))
    try:
        me = psutil.Process()
        listening = [
            (process.pid, connection.laddr.ip)
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    finally:
        pool.close()
    assert len({pid for pid, _ in listening}) == 2, "the scheduler and its worker listen"
    assert {address for _, address in listening} == {"127.0.0.1"}


def recorded(lab) -> int:
    return len(list(lab.root.glob("*/record.json")))


def worker_verb(sweep) -> psutil.Process:
    """The process with the slots of a sweep."""
    return next(child for child in psutil.Process(sweep.pid).children() if "launch.worker" in child.cmdline())


def dask_worker(sweep) -> psutil.Process:
    """One of its workers that is training."""
    return next(child for child in worker_verb(sweep).children() if child.children())
