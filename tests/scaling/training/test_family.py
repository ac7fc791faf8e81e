"""Several runs in one process: what goes wrong in one, and what that means for the others."""

import errno
import shutil

import pytest

from scaling.errors import ConfigError
from scaling.run_directory import Attempt
from scaling.training import run
from scaling.training.curve import Curve
from scaling.training.family import train_directories
from tests.scaling.training import small_runs

STEPS = 5


def config(store: str, **fields):
    return small_runs.config(store, **({"tokens": STEPS * 512} | fields))


def full_disk(*arguments, **facts):
    raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")


@pytest.fixture
def trunk_and_branch(byte_store, tmp_path):
    return small_runs.freeze(tmp_path, config(byte_store, branches=(STEPS * 512,)))


def test_branches_wait_for_a_trunk_that_another_process_trains(trunk_and_branch, capsys):
    trunk, branch = trunk_and_branch
    with trunk.lock():
        assert train_directories([trunk.path]) == {trunk.path.name: "busy", branch.path.name: "busy"}
    assert "its branches wait until it is finished" in capsys.readouterr().err
    assert branch.status() == "new" and not branch.checkpoints.exists()
    assert set(train_directories([trunk.path]).values()) == {"completed"}


def test_a_branch_before_its_trunk_is_told_to_wait(trunk_and_branch, capsys):
    trunk, branch = trunk_and_branch
    assert train_directories([branch.path]) == {branch.path.name: "bad_input"}
    assert "Remedy: finish the trunk first" in capsys.readouterr().err
    assert not branch.attempts() and not trunk.checkpoints.exists()


def test_a_branch_leaves_an_unfinished_save_of_its_trunk_alone(trunk_and_branch):
    trunk, branch = trunk_and_branch
    assert train_directories([trunk.path])[branch.path.name] == "completed"
    (branch.path / "record.json").unlink()
    shutil.rmtree(branch.checkpoints)
    unfinished = trunk.checkpoints / "99.orbax-checkpoint-tmp"
    unfinished.mkdir()
    assert train_directories([branch.path])[branch.path.name] == "completed"
    assert unfinished.is_dir()


@pytest.mark.parametrize("content", [None, "{", "[]"], ids=["absent", "torn", "another"])
def test_an_unreadable_directory_costs_the_others_nothing(byte_store, tmp_path, content):
    bad = tmp_path / "bad"
    bad.mkdir()
    if content is not None:
        (bad / "spec.json").write_text(content)
    (good,) = small_runs.freeze(tmp_path, config(byte_store))
    assert train_directories([bad, good.path]) == {"bad": "bad_input", good.path.name: "completed"}
    assert not (bad / "lock").exists()


def test_a_full_disk_is_one_line_and_no_fault_of_the_program(byte_store, tmp_path, monkeypatch, capsys):
    (directory,) = small_runs.freeze(tmp_path, config(byte_store))
    monkeypatch.setattr(Curve, "write_row", full_disk)
    assert train_directories([directory.path]) == {directory.path.name: "bad_input"}
    printed = capsys.readouterr().err
    assert "cannot open or write metrics.jsonl: No space left on device. Remedy: " in printed
    assert "Traceback" not in printed
    assert directory.status() == "failed" and "No space" in directory.attempts()[-1].end["reason"]


def test_a_full_disk_does_not_hide_what_went_wrong_first(byte_store, tmp_path, monkeypatch, capsys):
    """The attempt cannot say how it ended either; the fault of the program is what must be seen."""

    def bug(*arguments):
        raise ZeroDivisionError("a bug")

    (directory,) = small_runs.freeze(tmp_path, config(byte_store))
    monkeypatch.setattr(Curve, "write_row", bug)
    monkeypatch.setattr(Attempt, "finish", full_disk)
    assert train_directories([directory.path]) == {directory.path.name: "failed"}
    assert "a bug" in capsys.readouterr().err


def test_a_feed_that_is_refused_leaves_no_attempt(byte_store, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise ConfigError("the split is too long", "set placement to 'host'")

    (directory,) = small_runs.freeze(tmp_path, config(byte_store))
    monkeypatch.setattr(run, "make_feed", refuse)
    assert train_directories([directory.path]) == {directory.path.name: "bad_input"}
    assert directory.status() == "new"
