"""A store is read against its hashes once for each machine: again after any change, and always where no stamp can be kept."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from scaling.data import manifested, verification
from scaling.data.store import TokenStore, file_hashes
from scaling.errors import DataError
from scaling.training import run
from tests.conftest import PROJECT_ROOT

TEXTS = {"train": ["one", "two two", "drei"], "validation": ["held out"]}


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the files that are hashed, as they are."""
    names: list[str] = []
    sha256 = manifested.sha256_of_file
    monkeypatch.setattr(manifested, "sha256_of_file", lambda path: names.append(path.name) or sha256(path))
    return names


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    """An empty folder for stamps; files count as settled at once."""
    monkeypatch.setenv(verification.FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(verification, "_TICK_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def store(make_store) -> TokenStore:
    written = make_store(TEXTS)
    time.sleep(0.02)  # Longer than a tick of the file system's clock.
    return written


def test_a_second_process_reads_no_byte(store, cache):
    """Two processes one after the other, each saying what it hashes: the first all files of the manifest, the second none."""
    program = (
        "from scaling.data import manifested, verification\n"
        "from scaling.data.store import TokenStore\n"
        "verification._TICK_SECONDS = 0.0\n"
        "sha256 = manifested.sha256_of_file\n"
        "manifested.sha256_of_file = lambda path: print(path.name) or sha256(path)\n"
        f"TokenStore.open({str(store.path)!r}, verify='once')\n"
    )

    def hashed() -> list[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    assert sorted(hashed()) == sorted(pathlib.Path(name).name for name in file_hashes(store.manifest))
    assert hashed() == []


def test_what_a_trainer_opens_is_read_once(store, cache, reads):
    """Each process has its own memory of opened stores, which is emptied between the two looks."""
    for expected in (len(file_hashes(store.manifest)), 0):
        reads.clear()
        run._open_verified.cache_clear()
        run._open_verified(str(store.path))
        assert len(reads) == expected
    run._open_verified.cache_clear()


@pytest.mark.parametrize("keep_modification_time", [False, True])
def test_an_alteration_of_the_same_size_is_refused(store, cache, keep_modification_time):
    """With a stamp in place; the time of change gives away an alteration whose time of modification was set back."""
    TokenStore.open(store.path, verify="once")
    file = store.path / "train-00000.tokens"
    content, before = file.read_bytes(), file.stat()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if keep_modification_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_mtime_ns == before.st_mtime_ns
    for _ in range(2):
        with pytest.raises(DataError, match="is altered: its hash is not the manifest's"):
            TokenStore.open(store.path, verify="once")
    file.write_bytes(content)
    TokenStore.open(store.path, verify="once")


def test_a_store_of_other_content_at_the_same_place_is_read(store, cache, reads, make_store, tmp_path):
    TokenStore.open(store.path, verify="once")
    other = make_store({**TEXTS, "train": ["one", "two two", "vier"]}, name="other")
    store.path.rename(tmp_path / "away")
    other.path.rename(store.path)
    reads.clear()
    assert TokenStore.open(store.path, verify="once").store_hash == other.store_hash and len(reads) == 6


def test_hash_reads_in_spite_of_a_stamp_and_leaves_one(store, cache, reads):
    """So `--verify` means what it says, and spares the trainers that come after it."""
    for expected, verify in ((6, "hash"), (6, "hash"), (0, "once")):
        reads.clear()
        TokenStore.open(store.path, verify=verify)
        assert len(reads) == expected


def test_a_file_that_just_changed_gets_no_stamp(store, cache, reads, monkeypatch):
    """It could change again within the same tick of the clock, and look the same."""
    monkeypatch.setattr(verification, "_TICK_SECONDS", 60.0)
    for _ in range(2):
        reads.clear()
        TokenStore.open(store.path, verify="once")
        assert len(reads) == 6


def test_without_a_place_for_stamps_every_process_reads(store, cache, reads):
    """The cache is a file, so nothing can be kept below it; the store is opened all the same, and an altered one refused."""
    cache.write_text("in the way")
    for _ in range(2):
        reads.clear()
        TokenStore.open(store.path, verify="once")
        assert len(reads) == 6
    file = store.path / "train-00000.tokens"
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(DataError, match="is altered"):
        TokenStore.open(store.path, verify="once")


def test_a_folder_that_others_can_write_is_not_believed(store, cache, reads):
    TokenStore.open(store.path, verify="once")
    (cache / "verified").chmod(0o777)
    reads.clear()
    TokenStore.open(store.path, verify="once")
    assert len(reads) == 6


def test_without_a_cache_directory_stamps_are_kept_below_the_temporary_one(store, cache, reads, tmp_path, monkeypatch):
    """The home directory cannot be written: it is a file."""
    monkeypatch.delenv(verification.FOLDER_VARIABLE)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(verification.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    for expected in (6, 0):
        reads.clear()
        TokenStore.open(store.path, verify="once")
        assert len(reads) == expected
    assert list((tmp_path / "temporary").rglob("*.json"))


def test_a_torn_stamp_is_no_stamp(store, cache, reads):
    TokenStore.open(store.path, verify="once")
    (stamp,) = (cache / "verified").glob("*.json")
    stamp.write_text(stamp.read_text()[:-5])
    reads.clear()
    TokenStore.open(store.path, verify="once")
    assert len(reads) == 6


def test_processes_that_start_together_read_once(store, cache):
    """The slots of a host after a preemption: the second waits for the first and finds its stamp. Threads stand for them: each opens the lock anew."""
    began: list[int] = []

    def read() -> None:
        began.append(1)
        time.sleep(0.3)

    hashes = file_hashes(store.manifest)
    threads = [threading.Thread(target=verification.verify, args=(store.path, hashes, read)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(began) == 1
