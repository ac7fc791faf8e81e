"""What the workers of a sweep report: ROOT/sweeps/<sweep_id>/<worker>.json, one file a worker, each written by that worker alone.

These files say what runs cannot say of themselves: that one was given up and why, and how often trainers crashed.
"""

import dataclasses
import json
from collections.abc import Iterable

from etils import epath

from scaling import gin_files, run_directory
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run that was given up.

    Attributes:
      reason: in one line.
      log: output of its last trainer.
      bad_input: whether its input cannot be used, so that trying again is pointless.
    """

    reason: str
    log: str
    bad_input: bool


@dataclasses.dataclass
class Outcome:
    """What a driver reports when it stops.

    Attributes:
      failures: by run id.
      interrupted: whether a signal ended it before all was done.
    """

    failures: dict[str, Failure] = dataclasses.field(default_factory=dict)
    interrupted: bool = False


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a driver is doing now, for whoever shows progress.

    Attributes:
      waiting_for_others: whether all that is left is held by other processes.
      stopping: whether it has been asked to stop.
      failed: runs that were given up.
      crashes: how often a trainer crashed; its runs are tried again until they are given up.
    """

    waiting_for_others: bool = False
    stopping: bool = False
    failed: int = 0
    crashes: int = 0


@dataclasses.dataclass(frozen=True)
class Report:
    """One worker's file.

    Attributes:
      worker: its name, unique in the sweep.
      snapshot: what it was doing when it wrote.
      failures: runs that it gave up, by run id.
      ended: whether it came to its end.
      interrupted: whether a signal was the reason.
      started, written: when, UTC.
    """

    worker: str
    snapshot: Snapshot
    failures: dict[str, Failure]
    started: str
    written: str
    ended: bool = False
    interrupted: bool = False


def write(folder: epath.Path, report: Report) -> None:
    """Writes a report atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(folder / f"{report.worker}.json", dataclasses.asdict(report))


def read_all(folder: epath.Path, since: str = "") -> list[Report]:
    """The reports of a sweep's workers.

    Args:
      folder: of the sweep.
      since: leaves out those of workers that started before, a time in the form of `Report.started`.
    """
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(".json")) if folder.exists() else []
    found = [report for path in paths if (report := _read(path)) is not None]
    return [report for report in found if report.started >= since]


def merged(reports: Iterable[Report]) -> Snapshot:
    """What all workers together are doing."""
    every = list(reports)
    present = [report for report in every if not report.ended]
    return Snapshot(
        waiting_for_others=bool(present) and all(report.snapshot.waiting_for_others for report in present),
        stopping=any(report.snapshot.stopping for report in present),
        failed=sum(len(report.failures) for report in every),
        crashes=sum(report.snapshot.crashes for report in every),
    )


def _read(path: epath.Path) -> Report | None:
    """A report; None for a file that is not one, since what others leave there must not stop a sweep."""
    try:
        return gin_files.from_dict(Report, json.loads(path.read_text()))
    except (OSError, ValueError, ConfigError):
        return None
