"""Forecasts that are sealed before the runs are made, and graded when they have been.

A sealed file holds the forecasts, the fit they came from and a SHA-256 over all of it: published or committed before the runs
start, the digest proves that nothing was moved afterwards. Grading refuses a file whose digest does not match, a run that the
fit had already seen, and says of a run that is older than the seal.
"""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.result import finite
from analysis.laws.tables.loss_units import NATS_PER_TOKEN
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

SCHEMA_VERSION = 2
KIND = "sealed forecast"
# A run is the planned one where its size and tokens are this close: real counts differ from planned ones by rounding to batches.
SAME_RUN = 0.01
_DIGEST = "sha256"
_COLUMNS = ("params", "tokens")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run that is still to be made: its name (a run_id where one is known), size, tokens and FLOPs."""

    name: str
    params: float
    tokens: float
    flops: float


def planned_runs(frame: pd.DataFrame, table: RunsTable, source: str) -> list[PlannedRun]:
    """Reads planned runs.

    Args:
      frame: rows with `params` and `tokens`, optionally `flops` (by the table's convention) and `name` or `run_id`.
      table: the runs of the fit, for the cost of a token where `flops` is missing.
      source: of the frame, for messages.

    Raises:
      TableError: a column is missing, or a row holds no positive number.
    """
    from analysis.laws.optima import optimal  # the cost of a token needs a fitted table, and grading needs none

    missing = [column for column in _COLUMNS if column not in frame.columns]
    if missing or frame.empty:
        what = f"lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}" if missing else "has no rows"
        raise TableError(f"{source} {what}", "give one row a planned run, with params, tokens [flops, name]")
    numbers = frame[[*_COLUMNS, *(["flops"] if "flops" in frame else [])]].apply(pd.to_numeric, errors="coerce")
    bad = ~((numbers > 0) & np.isfinite(numbers)).all(axis=1)
    if bad.any():
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(bad)[:5])
        raise TableError(
            f"{source}: params, tokens or flops is not a positive number in row {rows}", "correct those rows"
        )
    if "flops" not in numbers:
        cost = optimal.cost_of(table)
        numbers = numbers.assign(
            flops=np.exp(cost(np.log(numbers["params"].to_numpy())) + np.log(numbers["tokens"].to_numpy()))
        )
    name = next((frame[column].astype(str) for column in ("name", "run_id") if column in frame), None)
    names = [f"row {row + 1}" for row in range(len(frame))] if name is None else list(name)
    return [
        PlannedRun(title, row.params, row.tokens, row.flops)
        for title, row in zip(names, numbers.itertuples(), strict=True)
    ]


def seal(
    table: RunsTable,
    planned: list[PlannedRun],
    forecasts: list[Any],
    law: Mapping[str, Any],
    options: Mapping[str, Any],
    now: str | None = None,
) -> dict[str, Any]:
    """The sealed document.

    Args:
      table: the runs of the fit.
      planned: the runs to be made.
      forecasts: one :class:`analysis.laws.forecasts.forecast.Forecast` for each.
      law: the law's entry of laws.json.
      options: how it was fitted.
      now: the time of sealing, ISO 8601 in UTC; None for the clock's.
    """
    entries = [
        {
            "name": run.name, "params": run.params, "tokens": run.tokens, "flops": run.flops, "loss": made.value,
            "interval": [finite(bound) for bound in made.interval], "level": made.level, "flags": list(made.flags),
        }
        for run, made in zip(planned, forecasts, strict=True)
    ]  # fmt: skip
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "sealed": now or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "conventions": dataclasses.asdict(table.conventions),
        "loss_unit": table.loss_unit,
        "fitted": {"runs": sorted(table.frame["run_id"]), _DIGEST: fingerprint(table)},
        "law": dict(law),
        "options": dict(options),
        "forecasts": entries,
    }
    return document | {_DIGEST: digest(document)}


def fingerprint(table: RunsTable) -> str:
    """SHA-256 of the runs of a fit: their ids and numbers, whatever their order."""
    rows = table.frame.sort_values("run_id")[["run_id", "params", "tokens", "flops", "loss"]]
    return hashlib.sha256(json.dumps(rows.to_dict("records"), sort_keys=True).encode()).hexdigest()


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a document but its own digest, in canonical JSON."""
    rest = {key: value for key, value in document.items() if key != _DIGEST}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def opened(text: str, source: str) -> dict[str, Any]:
    """A sealed document, its digest checked.

    Raises:
      TableError: it is no sealed forecast, or was altered after it was sealed.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TableError(f"{source} is not JSON: {error}", "give --score the file that --seal wrote") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise TableError(f"{source} is not a sealed forecast", "give --score the file that --seal wrote")
    if document.get("schema_version") != SCHEMA_VERSION:
        version = document.get("schema_version")
        raise TableError(
            f"{source} has schema {version}, and {SCHEMA_VERSION} is read", "score it with the version that sealed it"
        )
    if digest(document) != document.get(_DIGEST):
        raise TableError(
            f"{source} was altered after it was sealed: its SHA-256 does not match", "restore the file that was sealed"
        )
    return document


@dataclasses.dataclass(frozen=True)
class Grade:
    """One run against its sealed forecast.

    Attributes:
      name: of the planned run.
      run_id: of the run that was made.
      predicted, interval: sealed, in the sealed unit of loss.
      measured: its loss, in the same unit.
      inside: whether the interval holds it.
      error_percent: measured over predicted, minus one, in percent.
      interval_score: of ln L (Gneiting and Raftery 2007, eq. 43): width, and 2/(1 − level) of what lies outside; lower is better.
      flags: what speaks against the grade, in words.
    """

    name: str
    run_id: str
    predicted: float
    interval: tuple[float, float]
    measured: float
    inside: bool
    error_percent: float
    interval_score: float
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Scorecard:
    """All grades of a sealed file.

    Attributes:
      sealed: when.
      digest: its SHA-256.
      level: nominal coverage.
      grades: of the runs that were made.
      missing: names of planned runs that were not.
    """

    sealed: str
    digest: str
    level: float
    grades: tuple[Grade, ...]
    missing: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the runs inside their intervals."""
        return float(np.mean([grade.inside for grade in self.grades]))

    def to_json(self) -> dict[str, Any]:
        """score.json."""
        scores = [grade.interval_score for grade in self.grades]
        errors = [abs(grade.error_percent) for grade in self.grades]
        return {
            "schema_version": SCHEMA_VERSION, "kind": "score of a sealed forecast", "sealed": self.sealed, _DIGEST: self.digest,
            "level": self.level, "runs": len(self.grades), "coverage": self.coverage, "mean_interval_score": float(np.mean(scores)),
            "median_error_percent": float(np.median(errors)), "grades": [dataclasses.asdict(grade) for grade in self.grades],
            "missing": list(self.missing),
        }  # fmt: skip

    def in_words(self) -> list[str]:
        """Lines for the terminal."""
        inside = sum(grade.inside for grade in self.grades)
        lines = [f"forecast sealed {self.sealed}, sha256 {self.digest}"]
        for grade in self.grades:
            low, high = grade.interval
            lines.append(
                f"{grade.name}: predicted {grade.predicted:.4f} [{low:.4f}, {high:.4f}], measured {grade.measured:.4f} ({grade.run_id}): "
                f"{'INSIDE' if grade.inside else 'OUTSIDE'}, {grade.error_percent:+.2f}%"
            )
            lines += [f"  ! {flag}" for flag in grade.flags]
        lines.append(
            f"{inside} of {len(self.grades)} inside their {100 * self.level:.0f}% intervals; median error "
            f"{np.median([abs(grade.error_percent) for grade in self.grades]):.2g}%"
        )
        if self.missing:
            lines.append(f"not made yet: {', '.join(self.missing)}")
        return lines


def score(document: Mapping[str, Any], runs: pd.DataFrame, source: str, loss_unit: str = NATS_PER_TOKEN) -> Scorecard:
    """Grades a sealed forecast.

    Args:
      document: :func:`opened`.
      runs: the runs made since, with `run_id, params, tokens, loss` under the sealed conventions, and `created` where known.
      source: of the runs, for messages.
      loss_unit: of their losses, in words (:mod:`analysis.laws.tables.loss_units`).

    Raises:
      TableError: the losses are in another unit than the sealed ones, no run matches a forecast, or a run that matches was part of the fit.
    """
    sealed_unit = document["loss_unit"]
    if loss_unit != sealed_unit:
        raise TableError(
            f"{source} has losses in {loss_unit}, and the forecasts were sealed in {sealed_unit}",
            "give --loss_unit (and --bytes_per_token) by which the runs' losses become those that were sealed",
        )
    fitted = set(document["fitted"]["runs"])
    grades, missing = [], []
    for entry in document["forecasts"]:
        made = runs[_matches(runs, entry)]
        seen = [run_id for run_id in made["run_id"] if run_id in fitted]
        if seen and len(seen) == len(made):
            raise TableError(
                f"{source}: {', '.join(seen)} matches the forecast {entry['name']!r}, and was part of the fit that made it",
                "forecast runs that the fit has not seen",
            )
        made = made[~made["run_id"].isin(fitted)]
        if made.empty:
            missing.append(entry["name"])
        grades += [_grade(entry, row, document["sealed"]) for row in made.itertuples()]
    if not grades:
        raise TableError(
            f"{source} holds none of the {len(document['forecasts'])} planned runs (by name, or by params and tokens within {100 * SAME_RUN:.0f}%)",
            "make the runs, or give --runs the directory that holds them",
        )
    level = float(document["forecasts"][0]["level"])
    return Scorecard(str(document["sealed"]), str(document[_DIGEST]), level, tuple(grades), tuple(missing))


def _matches(runs: pd.DataFrame, entry: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    by_name = (runs["run_id"] == entry["name"]).to_numpy()
    if by_name.any():
        return by_name
    near = np.ones(len(runs), bool)
    for column in _COLUMNS:
        near &= np.abs(np.log(runs[column].to_numpy(np.float64) / entry[column])) < SAME_RUN
    return near


def _grade(entry: Mapping[str, Any], row: Any, sealed: str) -> Grade:
    low, high = entry["interval"]
    log_low, log_high, measured = np.log(low), np.log(high), np.log(row.loss)
    outside = max(log_low - measured, 0.0) + max(measured - log_high, 0.0)
    interval_score = (log_high - log_low) + 2 / (1 - entry["level"]) * outside
    created = getattr(row, "created", None)
    flags = ()
    if isinstance(created, str) and created and _moment(created) < _moment(sealed):
        flags = (f"the run was recorded {created}, before the forecast was sealed",)
    return Grade(
        entry["name"], str(row.run_id), float(entry["loss"]), (float(low), float(high)), float(row.loss), bool(low <= row.loss <= high),
        100 * float(row.loss / entry["loss"] - 1), float(interval_score), flags,
    )  # fmt: skip


def _moment(text: str) -> pd.Timestamp:
    """A time in UTC; one without a zone is taken to be UTC."""
    moment = pd.Timestamp(text)
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
