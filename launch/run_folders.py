"""Finds the run directories of both stages below a root, and says cheaply whether one has changed since the last look."""

import os
from collections.abc import Iterator

from scaling import run_directory
from scaling.errors import ConfigError

SPEC, STAGE, RECORD = "spec.json", "stage.json", "record.json"

# Below a root these hold what engines, mirrors and sweeps keep, and no runs.
_NOT_RUNS = frozenset({"logs", "sweeps", "exports"})
_OF_AN_ATTEMPT = ("start.json", "metrics.jsonl", "end.json")


def require_local(root: str) -> None:
    """Refuses a root that is no directory on a disk of this machine.

    Raises:
      ConfigError: naming the root and what to do.
    """
    if run_directory.is_remote(root):
        raise ConfigError(
            f"the root {root} is not on a local disk, and changes of its files cannot be told cheaply there",
            "copy the run directories without their checkpoints to a disk first (docs/tracking.md has the command)",
        )
    if not os.path.isdir(root):
        raise ConfigError(f"the root {root} is not a directory", "give the directory that holds run directories")


def find(root: str) -> Iterator[str]:
    """Paths of run directories relative to `root`, at any depth, sorted; what lies inside a run directory is not looked at."""
    yield from _below(root, "")


def stamp(path: str) -> str:
    """A text that changes whenever the files of a run directory that the index reads have changed.

    It is made of inode, time and size of each file: a file that is replaced has another inode, one that is appended to another size. Once there is a
    record nothing else changes, and nothing else is looked at.
    """
    marks = [_mark(os.path.join(path, name)) for name in (SPEC, STAGE, RECORD)]
    if not marks[-1]:
        folder = os.path.join(path, "attempts")
        attempts = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        marks.append(str(len(attempts)))
        marks += [_mark(os.path.join(folder, attempts[-1], name)) for name in _OF_AN_ATTEMPT] if attempts else []
    return " ".join(marks)


def _below(root: str, relative: str) -> Iterator[str]:
    with os.scandir(os.path.join(root, relative)) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=True))
    for name in names:
        path = os.path.join(root, relative, name)
        if any(os.path.exists(os.path.join(path, file)) for file in (SPEC, STAGE)):
            yield os.path.join(relative, name)
        elif not name.startswith(".") and name not in _NOT_RUNS:
            yield from _below(root, os.path.join(relative, name))


def _mark(path: str) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{found.st_ino}:{found.st_mtime_ns}:{found.st_size}"
