"""Reads the files of a store against their hashes once for each machine: a stamp outside the store says that these very files were found intact.

A process that starts must know that its data are those of the manifest, and a store of 468 GB takes 16 minutes to read at 0.5 GB/s. Without stamps every
preemption would cost that much on every host.

A stamp holds, for each file, the hash that was expected and the file's device, inode, size and times of modification and change as they were before it was
read. While all of these are what they were, the bytes are not read again. So an alteration of the same size is seen by its times; one that restores the
time of modification (`touch -r`) is still seen by the time of change, which the kernel alone sets. What a stamp cannot see:

* an alteration by someone who sets the machine's clock back, or on a mount that invents the time of change (some bridges to buckets), if the time of
  modification is restored as well;
* bytes that a disk or a file server spoils without anyone writing to the file.

`--verify` of the verbs that prepare stores always reads.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO

# Names a folder for stamps; by default they are in the user's cache directory, or in the system's temporary one where that cannot be written.
FOLDER_VARIABLE = "PLUMBLINE_CACHE_DIR"

# A file that changed so shortly before it was read could change once more within one tick of its file system's clock, and show the same times.
_TICK_SECONDS = 2.0

_Marks = dict[str, list[str | int]]


def verify(
    store: pathlib.Path, hashes: Mapping[str, str], read: Callable[[], None], *, believe_stamp: bool = True
) -> None:
    """Has the files of a store read unless a stamp shows that this machine has done so, and leaves one.

    Processes of one machine take turns: those that come while the first reads wait for it and find its stamp. Where no stamp can be kept, each reads.

    Args:
      store: the directory of the store.
      hashes: sha256 by the name of a file in it.
      read: reads every byte, and raises where a hash is not that of the file.
      believe_stamp: False has them read in any case.

    Raises:
      OSError: a file is missing.
      Exception: what `read` raises; no stamp is left then.
    """
    with _stamp_of(store) as stamp:
        marks = _marks(store, hashes)
        if believe_stamp and stamp is not None and _content(stamp) == marks:
            return
        started = time.time()
        read()
        if stamp is not None and _settled(marks, started) and marks == _marks(store, hashes):
            _write(stamp, marks)


def _marks(store: pathlib.Path, hashes: Mapping[str, str]) -> _Marks:
    marks: _Marks = {}
    for name, expected in hashes.items():
        found = (store / name).stat()
        times = (found.st_mtime_ns, found.st_ctime_ns)
        marks[name] = [expected, found.st_dev, found.st_ino, found.st_size, *times]
    return marks


def _settled(marks: _Marks, started: float) -> bool:
    newest = max((max(mark[-2:]) for mark in marks.values()), default=0)
    return newest / 1e9 < started - _TICK_SECONDS


@contextlib.contextmanager
def _stamp_of(store: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """The file for the stamp of a store, which no other process looks at meanwhile; None where none can be kept.

    Home directories are shared by machines that see other disks under the same paths, so the name depends on the machine too.
    """
    place = json.dumps([platform.node(), str(store.resolve())])
    name = hashlib.sha256(place.encode()).hexdigest()[:32]
    with contextlib.ExitStack() as held:
        stamp = None
        for folder in _folders():
            try:
                lock = held.enter_context(_private(folder, name))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:  # Not writable, no room, or a file system without locks: the next folder, or none.
                continue
            stamp = folder / f"{name}.json"
            break
        yield stamp


def _folders() -> Iterator[pathlib.Path]:
    if given := os.environ.get(FOLDER_VARIABLE):
        yield pathlib.Path(given) / "verified"
        return
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(cache):
        yield pathlib.Path(cache) / "plumbline" / "verified"
    yield pathlib.Path(tempfile.gettempdir()) / f"plumbline-cache-{os.getuid()}" / "verified"


def _private(folder: pathlib.Path, name: str) -> IO[str]:
    """Opens the lock file of a stamp. In a folder that others can write, they could leave a stamp for a store that they have altered."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owned = folder.stat()
    if owned.st_uid != os.getuid() or owned.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by others")
    return open(folder / f"{name}.lock", "a")


def _content(stamp: pathlib.Path) -> object:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        # None was left, or a torn one: the files are read.
        return None


def _write(stamp: pathlib.Path, marks: _Marks) -> None:
    partial = stamp.with_suffix(".partial")
    # The files are verified; without room for the stamp the next process reads them again.
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps(marks))
        partial.replace(stamp)
