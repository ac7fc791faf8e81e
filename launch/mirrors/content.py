"""What a mirror is given of a run: its settings, the rows of its curve that are complete, and its results."""

import calendar
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from launch import run_folders, states
from launch.index_entries import Entry
from scaling.mirrors import values
from scaling.run_directory import RunDirectory

# What a service shows among its tags, and not among the hyper-parameters.
_LINEAGE = ("git_commit", "created", "path", "reason")


@dataclasses.dataclass(frozen=True)
class Row:
    """One step of a curve.

    Attributes:
      step: of the run; for best-of-n, n.
      time: when it was written, seconds since 1970.
      values: numbers by name.
    """

    step: int
    time: float
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class RunContent:
    """A run as mirrors see it.

    Attributes:
      entry: its row of the index.
      group: the sweep, or the directory that it lies in.
      settings: its configuration, flat.
      lineage: parents, data, code and place, as words.
      rows: steps that are not exported yet and to which nothing will be added.
      results: numbers of its record, named `final/...`; empty before there is one.
      started, ended: seconds since 1970; equal for a run that has not begun.
      config_gin: its Gin bindings.
    """

    entry: Entry
    group: str
    settings: Mapping[str, bool | int | float | str]
    lineage: Mapping[str, str]
    rows: tuple[Row, ...]
    results: Mapping[str, float]
    started: float
    ended: float
    config_gin: str

    @property
    def is_finished(self) -> bool:
        """Whether there is a record."""
        return self.entry.status in states.FINISHED

    @property
    def last_step(self) -> int | None:
        """Of the rows; None where there is none."""
        return self.rows[-1].step if self.rows else None


def read(root: str, entry: Entry, after: int | None = None) -> RunContent:
    """Reads a run directory of either stage.

    Args:
      root: that `entry.path` is relative to.
      entry: of the index.
      after: the last step that was exported; rows up to it are left out, since a resumed run computes them again to the same values.

    Raises:
      OSError, ValueError, LookupError: a file is damaged.
    """
    path = os.path.join(root, entry.path)
    directory = RunDirectory(path)
    is_stage = os.path.exists(os.path.join(path, run_folders.STAGE))
    spec = _json(os.path.join(path, run_folders.STAGE if is_stage else run_folders.SPEC))
    record = directory.record() or {}
    starts = _starts(directory)
    rows = _complete_rows(path, directory, starts, bool(record))
    frozen = os.path.getmtime(os.path.join(path, run_folders.STAGE if is_stage else run_folders.SPEC))
    times = [began for _, began in starts] or [frozen]
    return RunContent(
        entry=entry,
        group=entry.sweep_id or os.path.basename(os.path.dirname(os.path.abspath(path))),
        settings=values.settings(spec["config"]),
        lineage=_lineage(entry),
        rows=tuple(row for row in rows if after is None or row.step > after),
        results={f"final/{name}": value for name, value in values.numbers(values.results(record)).items()},
        started=times[0],
        ended=max([times[-1], *(row.time for row in rows[-1:])]),
        config_gin=_text(os.path.join(path, "config.gin")),
    )


def _complete_rows(path: str, directory: RunDirectory, starts: list[tuple[int, float]], finished: bool) -> list[Row]:
    rows = directory.metrics()
    if not rows and os.path.exists(os.path.join(path, "measurements.jsonl")):
        return _measured_rows(path, starts)
    attempts = directory.attempts()
    ended = finished or (bool(attempts) and bool(attempts[-1].end))
    # A held-out loss joins the row of its step later: while an attempt runs, its last step is not complete.
    complete = rows if ended else rows[:-1]
    found: list[Row] = []
    for row in complete:
        now = _time_of(row, starts) or (found[-1].time if found else _began(starts, row["step"]))
        found.append(Row(row["step"], now, values.of_row(row)))
    return found


def _measured_rows(path: str, starts: list[tuple[int, float]]) -> list[Row]:
    """The rows of best-of-n, which takes no steps: by n."""
    rows = [json.loads(line) for line in _text(os.path.join(path, "measurements.jsonl")).splitlines()]
    now = starts[-1][1] if starts else os.path.getmtime(os.path.join(path, "measurements.jsonl"))
    return [Row(int(row["n"] or row["step"]), now, values.of_row({"policy": row})) for row in rows]


def _starts(directory: RunDirectory) -> list[tuple[int, float]]:
    """For each attempt that said so: the step that it continues from, and when it began."""
    found = []
    for attempt in directory.attempts():
        path = os.path.join(attempt.path, "start.json")
        if os.path.exists(path):
            start = _json(path)
            found.append((start.get("first_step") or 0, _seconds(start["started"])))
    return found


def _began(starts: list[tuple[int, float]], step: int) -> float:
    """When the attempt that counts at a step began."""
    return next((began for first, began in reversed(starts) if first < step), starts[0][1] if starts else 0.0)


def _time_of(row: Mapping[str, Any], starts: list[tuple[int, float]]) -> float | None:
    return _began(starts, row["step"]) + row["wall_seconds"] if "wall_seconds" in row else None


def _lineage(entry: Entry) -> dict[str, str]:
    found = {name: str(getattr(entry, name)) for name in _LINEAGE}
    found |= {f"parent.{role}": identity for role, identity in entry.parents.items()}
    found |= {f"data.{role}": content for role, content in entry.data.items()}
    return {name: value for name, value in {**found, **{f"tag.{k}": v for k, v in entry.tags.items()}}.items() if value}


def _seconds(text: str) -> float:
    """From an ISO 8601 time in UTC to seconds since 1970."""
    return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))


def _json(path: str) -> dict[str, Any]:
    return json.loads(_text(path))


def _text(path: str) -> str:
    with open(path, encoding="utf8") as handle:
        return handle.read()
