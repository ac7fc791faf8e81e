"""The index of all runs under a root: an SQLite file, `ROOT/index.sqlite`, with a row for every run directory of either stage.

It is derived from the directories alone and may be deleted at any time. Bringing it up to date reads only what has changed since the last time; a rebuild
reads everything and gives the same rows.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence

from launch import run_folders
from launch.index_entries import Entry, entry_of
from scaling.errors import OutputError
from scaling.run_directory import RunDirectory

FILE = "index.sqlite"

# Raised whenever the columns change: an index of another version is made anew.
_VERSION = 1
_COLUMNS = tuple(field.name for field in dataclasses.fields(Entry))
_MAPPINGS = ("tags", "parents", "data")
_BUSY_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Changes:
    """What bringing the index up to date found.

    Attributes:
      added, changed, removed: run directories.
      total: run directories now.
      seconds: that it took.
    """

    added: int
    changed: int
    removed: int
    total: int
    seconds: float


def refresh(root: str, file: str | None = None, *, rebuild: bool = False) -> Changes:
    """Brings the index of a root up to date.

    Args:
      root: a local directory that holds run directories, at any depth.
      file: where the index is kept; `ROOT/index.sqlite` by default.
      rebuild: forgets the index first.

    Raises:
      ConfigError: the root is not a local directory.
      OutputError: the index cannot be written.
    """
    run_folders.require_local(root)
    started = time.monotonic()
    with _opened(root, file, rebuild) as database:
        known = dict(database.execute("SELECT path, stamp FROM runs"))
        seen: set[str] = set()
        added = changed = 0
        for path in run_folders.find(root):
            seen.add(path)
            stamp = run_folders.stamp(os.path.join(root, path))
            if known.get(path) == stamp:
                continue
            added, changed = (added + 1, changed) if path not in known else (added, changed + 1)
            database.execute(_INSERT, _row(entry_of(root, path, stamp)))
        gone = [(path,) for path in known if path not in seen]
        database.executemany("DELETE FROM runs WHERE path = ?", gone)
    return Changes(added, changed, len(gone), len(seen), time.monotonic() - started)


def entries(root: str, file: str | None = None, *, sweep: str | None = None) -> list[Entry]:
    """The rows of the index, which is brought up to date first; sorted by path.

    Args:
      root, file: see :func:`refresh`.
      sweep: keeps the runs of one sweep, by its name or its id; None keeps all.

    Raises:
      ConfigError, OutputError: see :func:`refresh`.
    """
    refresh(root, file)
    with _opened(root, file, rebuild=False) as database:
        rows = database.execute(f"SELECT {', '.join(_COLUMNS)} FROM runs ORDER BY path").fetchall()
    found = [_entry(row) for row in rows]
    return [entry for entry in found if sweep is None or sweep in (entry.sweep_id, entry.sweep_id.rpartition("-")[0])]


def present_status(root: str, entry: Entry) -> str:
    """The status of a run with a look at its lock, which alone tells a run that is being trained."""
    if entry.status in ("new", "interrupted", "failed") and os.path.exists(os.path.join(root, entry.path, "lock")):
        return RunDirectory(os.path.join(root, entry.path)).status()
    return entry.status


_INSERT = f"INSERT OR REPLACE INTO runs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


@contextlib.contextmanager
def _opened(root: str, file: str | None, rebuild: bool) -> Iterator[sqlite3.Connection]:
    """The database within one transaction; one that is damaged, or of another version, is made anew."""
    path = file or os.path.join(root, FILE)
    try:
        database = _usable(path, rebuild)
        with contextlib.closing(database), database:
            yield database
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"the index {path} cannot be opened or written ({error})",
            "give a root that can be written, or wait for the process that writes it",
        ) from error


def _usable(path: str, rebuild: bool) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    try:
        # What a power failure spoils is made anew.
        database.execute("PRAGMA synchronous = OFF")
        fresh = not rebuild and database.execute("PRAGMA user_version").fetchone()[0] == _VERSION
        if not fresh:
            database.execute("DROP TABLE IF EXISTS runs")
            database.execute(f"CREATE TABLE runs ({', '.join(_COLUMNS)}, PRIMARY KEY (path)) WITHOUT ROWID")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        return database
    except sqlite3.OperationalError:
        database.close()
        raise
    except sqlite3.DatabaseError:
        # Not a database: nothing is lost, since everything in it comes from the directories.
        database.close()
        os.unlink(path)
        return _usable(path, rebuild=True)


def _row(entry: Entry) -> tuple[object, ...]:
    values = {name: getattr(entry, name) for name in _COLUMNS}
    return tuple(json.dumps(values[name], sort_keys=True) if name in _MAPPINGS else values[name] for name in _COLUMNS)


def _entry(row: Sequence[object]) -> Entry:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Entry(**values | {name: json.loads(values[name]) for name in _MAPPINGS})
