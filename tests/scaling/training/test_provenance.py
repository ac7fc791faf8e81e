"""Facts about the machine never stop a run, wherever it is."""

import pathlib

import pytest

from scaling.training import provenance


@pytest.fixture
def forgotten():
    """Commit and device are looked up once a process; these tests look again."""
    cached = (provenance.git_commit, provenance.device)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_without_git_the_commit_is_empty(forgotten, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() == ""


def test_without_proc_cpuinfo_there_is_still_a_device(forgotten, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "exists", lambda path: False)
    assert provenance.device()["cores"] >= 1
