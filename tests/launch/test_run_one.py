"""The command that every engine runs: exit codes, claims, and nothing done twice."""

import subprocess
import sys

import pytest

from launch import states
from launch.claims import is_claimed, try_claim
from tests.launch.conftest import PROJECT_ROOT, SEEDS, Ended, Laboratory, ended, start_verb


def start(lab: Laboratory, *units: states.Unit, behaviour=None, seconds: float = 0.0) -> subprocess.Popen:
    run_ids = [f"--run_id={unit.run_id}" for unit in units]
    return start_verb("launch.run_one", f"--root={lab.root}", *run_ids, behaviour=behaviour, seconds=seconds)


def run(lab: Laboratory, *units: states.Unit, behaviour=None) -> Ended:
    return ended(start(lab, *units, behaviour=behaviour))


@pytest.fixture
def units(lab: Laboratory) -> list[states.Unit]:
    return lab.frozen_units(SEEDS.format(values=(0, 1)))


@pytest.mark.parametrize(
    ("behaviour", "code", "status"),
    [
        (None, 0, "completed"),
        ("diverge", 70, "diverged"),
        ("interrupted_once", 75, "interrupted"),
        ("raise", 1, "failed"),
        ("refuse", 2, "new"),
        ("crash", -9, "interrupted"),
    ],
)
def test_the_exit_code_is_the_trainers(lab, units, behaviour, code, status):
    assert run(lab, units[0], behaviour={0: behaviour}).code == code
    assert states.unit_status(units[0]) == status


def test_recorded_runs_are_left_alone_and_their_outcome_is_the_exit_code(lab, units):
    run(lab, *units, behaviour={1: "diverge"})
    again = run(lab, *units)
    assert again.code == 70 and units[1].run_id in again.err and "nothing to do" in again.out
    assert run(lab, units[0]).code == 0
    assert len(lab.started()) == 2


def test_the_second_of_two_at_once_refuses_with_one_line_and_75(lab, units):
    first = start(lab, *units, seconds=60.0)
    while not lab.started():
        assert first.poll() is None
    second = run(lab, *units)
    assert second.code == 75 and second.err.count("\n") == 1
    assert all(unit.run_id in second.err for unit in units)
    first.terminate()
    assert ended(first).code == 75 and lab.started() == [units[0].run_id]


def test_what_others_hold_is_left_out_and_the_rest_is_trained(lab, units):
    claim = try_claim(states.claims_folder(str(lab.root)), units[0].run_id)
    assert run(lab, *units).code == 0
    assert lab.started() == [units[1].run_id]
    claim.close()


def test_a_directory_that_is_trained_by_hand_is_held_too(lab, units):
    with units[0].directories[0].lock():
        assert run(lab, units[0]).code == 75
    assert not lab.started()


def test_the_claim_lasts_until_the_trainer_is_gone(lab, units):
    """The trainer is another program by then, and claims of its later runs must not end with the verb that took them."""
    process = start(lab, *units, seconds=60.0)
    while not lab.started():
        assert process.poll() is None
    folder = states.claims_folder(str(lab.root))
    assert all(is_claimed(folder, unit.run_id) for unit in units)
    process.kill()
    process.communicate()
    assert not any(is_claimed(folder, unit.run_id) for unit in units)


def test_a_trunk_brings_its_branches(lab):
    (unit,) = lab.frozen_units(SEEDS.replace("RunConfig.seed", "BRANCHES").format(values="((3_200, 6_400),)"))
    assert run(lab, unit).code == 0
    assert lab.started() == list(unit.run_ids)


@pytest.mark.parametrize(
    ("arguments", "named"), [([], "--run_id"), (["--run_id=nothing"], "nothing"), (["--flags"], "flags")]
)
def test_bad_usage_is_one_line_and_exit_code_2(lab, arguments, named):
    verb = [sys.executable, "-m", "launch.run_one", f"--root={lab.root}", *arguments]
    shown = subprocess.run(verb, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 2 and named in shown.stderr and shown.stderr.count("\n") == 1
    assert not lab.root.exists()


def test_processes_that_share_one_run_do_not_keep_each_other_out(lab, units, monkeypatch):
    """Each host of a slice runs the same command; a claim of the first would turn the others away, and the trainer's lock guards the run."""
    claim = try_claim(states.claims_folder(str(lab.root)), units[0].run_id)
    assert run(lab, units[0]).code == 75
    for name, value in (("COORDINATOR_ADDRESS", "localhost:1"), ("NUM_PROCESSES", "2"), ("PROCESS_ID", "1")):
        monkeypatch.setenv(f"JAX_{name}", value)
    assert run(lab, units[0]).code == 0 and lab.started() == [units[0].run_id]
    claim.close()
