"""Reads what people have: a tree of record.json files, a CSV, a Parquet or a JSON-lines file, into one raw frame.

A raw frame has one row a run and the columns of :data:`RAW_COLUMNS`, plus `params_<convention>` and
`flops_<convention>` for every convention that the source knows, and `loss_<domain>` with `loss_error_<domain>` for
every domain. Records add what they cost (`own_flops_<convention>`, `wall_seconds`, `device_seconds`) and where they come
from (`store_hash`, `git_commit`).
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from analysis.laws.errors import TableError

RAW_COLUMNS = (
    "run_id",
    "name",
    "family",
    "kind",
    "status",
    "reason",
    "role",
    "cluster",
    "seed",
    "tokens",
    "epochs",
    "schedule",
    "learning_rate",
    "batch_tokens",
    "path",
)
FILE_COLUMNS = ("params", "tokens", "loss")
RECORD = "record.json"
_NOT_RUNS = ("checkpoints", "attempts")
AS_GIVEN = "as_given"
# The convention of a file that says nothing more than `params` and `flops`.
SIX_ND = "6nd"


def read(path: str) -> pd.DataFrame:
    """Reads `path` by what it is: a directory of records, or a file by its suffix.

    Raises:
      TableError: the path is missing, empty, malformed or lacks columns; rows are named.
    """
    location = epath.Path(path)
    if not location.exists():
        raise TableError(f"{path} does not exist", "give --runs a directory of runs or a table file")
    if location.is_dir():
        return read_records(location)
    return from_frame(_read_file(location), path)


def read_records(directory: epath.Path) -> pd.DataFrame:
    """One row for every record.json under `directory`, at any depth (the format of scaling.records)."""
    paths = sorted(_record_paths(directory))
    if not paths:
        raise TableError(f"{directory} holds no record.json", "point --runs at the directory that a sweep wrote")
    frame = pd.DataFrame([_row_of_record(path) for path in paths])
    _refuse_duplicates(frame, str(directory))
    return frame


def _record_paths(directory: epath.Path) -> Iterator[epath.Path]:
    """Every record.json at any depth, without listing the checkpoints and attempts of each run."""
    for path in directory.iterdir():
        if path.name == RECORD:
            yield path
        elif path.name not in _NOT_RUNS and not path.suffix and path.is_dir():
            yield from _record_paths(path)


def _row_of_record(path: epath.Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise TableError(f"{path} is not JSON (line {error.lineno})", "remove the file or restore it") from error
    try:
        return _flattened(record, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{path} lacks or misuses the field {error}", "remove the file or write a complete record"
        ) from error


def _flattened(record: dict[str, Any], path: epath.Path) -> dict[str, Any]:
    run_id, parent, tags = record["run_id"], record.get("parent") or {}, record.get("tags") or {}
    row: dict[str, Any] = {
        "run_id": run_id,
        "name": record.get("name") or run_id,
        "family": record["model"].get("family") or "",
        "kind": record["kind"],
        "status": record["status"],
        "reason": record.get("reason") or "",
        "role": tags.get("role", ""),
        # Branches of one trunk share its seed, data order and trajectory, so they are one cluster.
        "cluster": parent.get("run_id") or run_id,
        "seed": record.get("seed"),
        "tokens": record["tokens"],
        "epochs": record.get("epochs") or np.nan,
        "schedule": _schedule_name(record.get("schedule")),
        "learning_rate": _number(record.get("learning_rate")),
        "batch_tokens": _number(record.get("batch_tokens")),
        "wall_seconds": _number(record.get("wall_seconds")),
        "device_seconds": _number(record.get("device_seconds")),
        "store_hash": record.get("store_hash"),
        "git_commit": record.get("git_commit"),
        "primary_domain": record.get("primary_domain"),
        "path": str(path.parent),
    }
    for convention in ("total", "non_embedding"):
        row[f"params_{convention}"] = record["parameters"][convention]
    for convention, flops in record["flops"].items():
        row[f"flops_{convention}"] = np.nan if flops is None else flops
    for convention, flops in (record.get("own_flops") or {}).items():
        row[f"own_flops_{convention}"] = _number(flops)
    for domain, loss in (record.get("losses") or {}).items():
        row[f"loss_{domain}"] = _number(loss["nats_per_token"])
        row[f"loss_error_{domain}"] = _number(loss.get("standard_error"))
    return row


def _schedule_name(schedule: dict[str, Any] | str | None) -> str:
    """The peak is the learning rate; a schedule that is only a name stands for itself."""
    return str(schedule.get("name", "")) if isinstance(schedule, dict) else schedule or ""


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _read_file(location: epath.Path) -> pd.DataFrame:
    readers = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda stream: pd.read_json(stream, lines=True),
    }
    reader = readers.get(location.suffix.lower())
    if reader is None:
        raise TableError(
            f"{location} is neither a directory nor one of {', '.join(readers)}", "convert the table to CSV"
        )
    try:
        with location.open("rb") as stream:
            return reader(stream)
    except (ValueError, OSError) as error:  # pandas, pyarrow: every malformed file
        message = " ".join(str(error).split())
        raise TableError(f"{location} cannot be read as {location.suffix[1:]}: {message}", "repair the file") from error


def from_frame(frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
    """A raw frame from a user's table with `params, tokens, loss` [`flops, run_id, seed, family, cluster, ...`].

    Raises:
      TableError: naming the missing columns, or the rows (1 is the first data row) that are not positive numbers.
    """
    missing = [column for column in FILE_COLUMNS if column not in frame.columns]
    if missing:
        raise TableError(
            f"{source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}",
            "rename the columns to params, tokens, loss [flops, run_id, seed, family]",
        )
    if frame.empty:
        raise TableError(f"{source} has no rows", "give a table with at least six runs")
    raw = frame.reset_index(drop=True).copy()
    completed = raw["status"].eq("completed") if "status" in raw.columns else pd.Series(True, index=raw.index)
    for column in (*FILE_COLUMNS, *[name for name in ("flops", "params_non_embedding") if name in raw.columns]):
        raw[column] = _positive_numbers(raw, column, completed, source)
    row_names = pd.Series([f"row {row + 1}" for row in raw.index], index=raw.index)
    raw["run_id"] = raw["run_id"].astype(str) if "run_id" in raw.columns else row_names
    defaults = {
        "name": raw["run_id"],
        "family": "",
        "kind": "pretrain",
        "status": "completed",
        "reason": "",
        "role": "",
        "cluster": raw["run_id"],
        "seed": np.nan,
        "epochs": np.nan,
        "schedule": "",
        "learning_rate": np.nan,
        "batch_tokens": np.nan,
        "path": "",
    }
    for column, default in defaults.items():
        if column not in raw.columns:
            raw[column] = default
    raw["params_total"] = raw.pop("params")
    raw[f"loss_{AS_GIVEN}"] = raw.pop("loss")
    raw["primary_domain"] = AS_GIVEN
    raw[f"loss_error_{AS_GIVEN}"] = raw.pop("loss_standard_error") if "loss_standard_error" in raw.columns else np.nan
    if "flops" in raw.columns:
        raw[f"flops_{AS_GIVEN}"] = raw.pop("flops")
    raw[f"flops_{SIX_ND}"] = 6.0 * raw["params_total"] * raw["tokens"]
    if "params_non_embedding" in raw.columns:
        raw["flops_kaplan_6nd_non_embedding"] = 6.0 * raw["params_non_embedding"] * raw["tokens"]
    _refuse_duplicates(raw, source)
    return raw


def _positive_numbers(raw: pd.DataFrame, column: str, checked: pd.Series, source: str) -> pd.Series:
    numbers = pd.to_numeric(raw[column], errors="coerce").astype(np.float64)
    bad = checked & ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        shown = ", ".join(f"row {row + 1} ({raw[column][row]!s})" for row in raw.index[bad][:5])
        more = f" and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
        raise TableError(
            f"{source}: the column {column} is not a positive finite number in {shown}{more}",
            "remove those rows, or add a column status that is not 'completed' for them",
        )
    return numbers


def _refuse_duplicates(frame: pd.DataFrame, source: str) -> None:
    duplicated = frame["run_id"][frame["run_id"].duplicated()].unique()
    if len(duplicated):
        rows = ", ".join(str(row + 1) for row in frame.index[frame["run_id"] == duplicated[0]])
        raise TableError(
            f"{source}: the run_id {duplicated[0]!r} stands in rows {rows}"
            + (f", and {len(duplicated) - 1} more ids repeat" if len(duplicated) > 1 else ""),
            "give every row its own run_id; say which rows belong to one run in the column cluster",
        )
