"""Facts about machine and code: they never stop a run, wherever it is, and the code can be had again from them."""

import hashlib
import json
import pathlib
import subprocess

import pytest

from scaling import gin_files
from scaling.run_directory import RunDirectory
from scaling.training import provenance, source_patch


@pytest.fixture
def forgotten():
    """Commit and device are looked up once a process; these tests look again."""
    cached = (provenance.git_commit, provenance.device, source_patch.patch)
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


def git(folder: pathlib.Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, which the provenance takes for the project's."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("a = 1\n")
    (folder / "gone.py").write_text("gone = 1\n")
    (folder / ".gitignore").write_text("stores/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(gin_files, "PROJECT_ROOT", folder)
    source_patch.patch.cache_clear()
    yield folder
    source_patch.patch.cache_clear()


def test_commit_and_patch_give_the_code_again(checkout, tmp_path):
    """A line changed, a file staged, one deleted, a new binary one: a clone of the commit with the patch equals the checkout, which is left as it was."""
    (checkout / "a.py").write_text("a = 2\n")
    (checkout / "staged.py").write_text("s = 1\n")
    git(checkout, "add", "staged.py")
    (checkout / "gone.py").unlink()
    (checkout / "new").mkdir()
    (checkout / "new" / "b.bin").write_bytes(bytes(range(256)))
    (checkout / "stores").mkdir()
    (checkout / "stores" / "tokens.bin").write_text("data")
    status = git(checkout, "status", "--porcelain")
    directory = RunDirectory(tmp_path / "run")
    attempt = provenance.start_attempt(directory, 0)
    assert git(checkout, "status", "--porcelain") == status
    git(tmp_path, "clone", "-q", str(checkout), "again")
    git(tmp_path / "again", "apply", str(attempt.path / "code.patch"))
    for name, content in {"a.py": b"a = 2\n", "staged.py": b"s = 1\n", "new/b.bin": bytes(range(256))}.items():
        assert (tmp_path / "again" / name).read_bytes() == content
    assert not (tmp_path / "again" / "gone.py").exists() and not (tmp_path / "again" / "stores").exists()
    start = json.loads((attempt.path / "start.json").read_text())
    assert start["code"]["patch_sha256"] == hashlib.sha256((attempt.path / "code.patch").read_bytes()).hexdigest()


def test_a_clean_checkout_has_no_patch(checkout, tmp_path):
    attempt = provenance.start_attempt(RunDirectory(tmp_path / "run"), 0)
    assert not (attempt.path / "code.patch").exists()
    assert json.loads((attempt.path / "start.json").read_text())["code"] == {"patch_bytes": 0, "patch_sha256": ""}


def test_a_patch_of_data_is_not_kept(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(source_patch, "LONGEST_BYTES", 100)
    (checkout / "big.py").write_text("x\n" * 1000)
    attempt = provenance.start_attempt(RunDirectory(tmp_path / "run"), 0)
    assert not (attempt.path / "code.patch").exists()
    assert json.loads((attempt.path / "start.json").read_text())["code"]["patch_bytes"] > 1000


def test_an_attempt_says_which_machine_and_job_it_ran_on(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    machine = json.loads((provenance.start_attempt(RunDirectory(tmp_path), 3).path / "start.json").read_text())[
        "machine"
    ]
    assert machine["scheduler"]["SLURM_JOB_ID"] == "17" and machine["processes"] == 1
    assert machine["memory_bytes"] > 2**28 and machine["cores"] >= 1
