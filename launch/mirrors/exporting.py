"""Carries what is new under the roots to a mirror: one writer at a time, and nothing twice."""

import collections
import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator, Sequence

from launch import index
from launch.index_entries import UNREADABLE, Entry
from launch.mirrors import content
from launch.mirrors.mirror import Exported, Mirror
from scaling.errors import BadInputError, ConfigError, OutputError


@dataclasses.dataclass
class Counts:
    """What an export did.

    Attributes:
      new, updated, unchanged: runs.
      rows: steps written.
      refused: run -> why it was not exported.
    """

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    rows: int = 0
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def only_writer(output: str) -> Iterator[None]:
    """Holds a destination, which is made if need be, for this process.

    Raises:
      ConfigError: another process exports there now.
      OutputError: it cannot be written.
    """
    try:
        os.makedirs(output, exist_ok=True)
        lock = open(os.path.join(output, "lock"), "a")  # noqa: SIM115
    except OSError as error:
        raise OutputError(
            f"the directory {output} cannot be written: {error.strerror}", "choose another --output"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process exports to {output} now", "wait for its end, or choose another --output"
            ) from error
        yield


def export(
    roots: Sequence[str],
    mirror: Mirror,
    *,
    sweep: str | None = None,
    curves: bool = True,
) -> Counts:
    """Exports every run under the roots that has changed since it was exported last.

    Args:
      roots: local directories that hold run directories.
      mirror: the destination, held by :func:`only_writer`.
      sweep: only runs of one sweep, by name or id.
      curves: whether rows of curves are exported, beside settings and results.

    Raises:
      BadInputError: a root is not a local directory, or the destination refuses what cannot be repeated.
    """
    counts, before = Counts(), dict(mirror.exported())
    seen: set[str] = set()
    for root in roots:
        for entry in index.entries(root, sweep=sweep):
            # Roots may lie in each other, or hold copies; a run is exported once.
            if entry.run_id in seen:
                continue
            seen.add(entry.run_id)
            known, entry = before.get(entry.run_id), _as_shown(root, entry, curves)
            if known is not None and known.stamp == entry.stamp:
                counts.unchanged += 1
                continue
            _export_one(root, entry, mirror, known, curves, counts)
    return counts


def _as_shown(root: str, entry: Entry, curves: bool) -> Entry:
    """The entry with its present status, and a stamp of what is shown: a run may be trained, or curves be asked for, without a change of its files."""
    status = index.present_status(root, entry)
    return dataclasses.replace(entry, status=status, stamp=f"{entry.stamp} {status}{' with curves' if curves else ''}")


def reasons(counts: Counts) -> list[str]:
    """Why runs were not exported, each reason once with how often it was given."""
    tally = collections.Counter(counts.refused.values())
    return [f"{count} runs: {reason}" for reason, count in tally.most_common()]


def _export_one(root: str, entry: Entry, mirror: Mirror, known: Exported | None, curves: bool, counts: Counts) -> None:
    if entry.status == UNREADABLE:
        counts.refused[entry.run_id] = entry.reason
        return
    try:
        found = content.read(root, entry, known.step if known and mirror.appends else None)
        found = found if curves else dataclasses.replace(found, rows=())
        mirror.write(found, known)
    except BadInputError:
        raise
    # A service and its client fail in ways of their own, and one run must not keep the others back; what failed is reported, and tried again next time.
    except Exception as error:  # noqa: BLE001
        counts.refused[entry.run_id] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return
    counts.rows += len(found.rows)
    counts.new, counts.updated = (counts.new + 1, counts.updated) if known is None else (counts.new, counts.updated + 1)
