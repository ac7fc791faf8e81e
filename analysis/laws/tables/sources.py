"""Reads what people have: a tree of record.json files, a CSV, a Parquet or a JSON-lines file, into one raw frame.

A raw frame has one row a run and the columns of :data:`RAW_COLUMNS`, plus `params_<convention>` and
`flops_<convention>` for every convention that the source knows, and `loss_<domain>` with `loss_error_<domain>` for
every domain. Records add what they cost (`own_flops_<convention>`, `wall_seconds`, `device_seconds`) and where they come
from (`store_hash`, `git_commit`).
"""

import json
import math
import re
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
    "sweep_id",
    "seed",
    "tokens",
    "epochs",
    "schedule",
    "learning_rate",
    "batch_tokens",
    "path",
)
FILE_COLUMNS = ("params", "tokens", "loss")
_OPTIONAL_NUMBERS = (
    "seed",
    "epochs",
    "learning_rate",
    "batch_tokens",
    "loss_standard_error",
    "wall_seconds",
    "device_seconds",
)
RECORD = "record.json"
# What lies beside a record: no run is in there, and on an object store every look at a name costs a request.
_NOT_RUNS = ("checkpoints", "attempts", "spec.json", "config.gin", "operative.gin", "lock")
AS_GIVEN = "as_given"
# The convention of a file that says nothing more than `params` and `flops`.
SIX_ND = "6nd"


def read(path: str, sweep: str | None = None) -> pd.DataFrame:
    """Reads `path` by what it is: a directory of records, or a file by its suffix.

    Args:
      path: a directory or a file, also of an object store.
      sweep: keeps the runs of one sweep, by its name or its id; None keeps all.

    Raises:
      TableError: the path is missing, out of reach, empty, malformed or lacks columns; rows are named.
    """
    try:
        raw = _read_all(path)
    except TableError:
        raise
    # Every client of an object store has its own exceptions; all of them mean that the address cannot be read.
    except Exception as error:
        if "://" not in path:
            raise
        message = " ".join(str(error).split())
        raise TableError(
            f"{path} cannot be read: {message}", "check the address, the network and your credentials"
        ) from error
    return raw if sweep is None else _of_sweep(raw, sweep, path)


def _read_all(path: str) -> pd.DataFrame:
    location = epath.Path(path)
    if not location.exists():
        raise TableError(f"{path} does not exist", "give --runs a directory of runs or a table file")
    if location.is_dir():
        return read_records(location)
    return from_frame(_read_file(location), path)


def sweep_name(sweep_id: str) -> str:
    """The name in a sweep's id: its hash changes whenever runs are added to the sweep."""
    return re.sub(r"-[0-9a-f]{8}$", "", sweep_id)


def _of_sweep(raw: pd.DataFrame, sweep: str, path: str) -> pd.DataFrame:
    names = raw["sweep_id"].map(sweep_name)
    kept = (names == sweep) | (raw["sweep_id"] == sweep)
    if not kept.any():
        known = ", ".join(sorted(set(names) - {""})) or "(none)"
        raise TableError(f"{path} holds no run of the sweep {sweep!r}", f"choose --sweep of {known}, or leave it out")
    return raw[kept].reset_index(drop=True)


def read_records(directory: epath.Path) -> pd.DataFrame:
    """One row for every record.json under `directory`, at any depth (the format of scaling.records)."""
    try:
        paths = sorted(_record_paths(directory))
    except OSError as error:
        raise TableError(
            f"{error.filename or directory} cannot be listed: {error.strerror}", "make it readable"
        ) from error
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
        elif path.name not in _NOT_RUNS and path.is_dir():
            yield from _record_paths(path)


def _row_of_record(path: epath.Path) -> dict[str, Any]:
    remedy = "remove the file or restore it"
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise TableError(f"{path} is not JSON (line {error.lineno})", remedy) from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 text (byte {error.start + 1})", remedy) from error
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}", "make it readable or remove it") from error
    if not isinstance(record, dict):
        raise TableError(f"{path} is not a JSON object", remedy)
    try:
        return _flattened(record, str(path.parent))
    except KeyError as error:
        raise TableError(f"{path} lacks the field {error}", "remove the file or write a complete record") from error
    except _MisusedFieldError as error:
        raise TableError(f"{path}: {error}", "remove the file or correct the field") from error


class _MisusedFieldError(Exception):
    """A field of a record has a value of another type than its own."""

    def __init__(self, field: str, value: Any, expected: str):
        super().__init__(f"the field {field} is {value!r}, not {expected}")


def _flattened(record: dict[str, Any], path: str) -> dict[str, Any]:
    run_id, model = str(record["run_id"]), _mapping(record["model"], "model")
    parent, tags = (_mapping(record.get(field), field) for field in ("parent", "tags"))
    row: dict[str, Any] = {
        "run_id": run_id,
        "name": str(record.get("name") or run_id),
        "family": str(model.get("family") or ""),
        "kind": str(record["kind"]),
        "status": str(record["status"]),
        "reason": str(record.get("reason") or ""),
        "role": str(tags.get("role", "")),
        # Branches of one trunk share its seed, data order and trajectory, so they are one cluster.
        "cluster": str(parent.get("run_id") or run_id),
        "sweep_id": str(record.get("sweep_id") or ""),
        "tokens": _number(record["tokens"], "tokens"),
        "schedule": _schedule_name(record.get("schedule")),
        "path": path,
    }
    for field in ("store_hash", "git_commit", "primary_domain"):
        row[field] = None if record.get(field) is None else str(record[field])
    for field in ("seed", "epochs", "learning_rate", "batch_tokens", "wall_seconds", "device_seconds"):
        row[field] = _number(record.get(field), field)
    parameters = _mapping(record["parameters"], "parameters")
    for convention in ("total", "non_embedding"):
        row[f"params_{convention}"] = _number(parameters[convention], f"parameters.{convention}")
    for field, by_convention in (("flops", record["flops"]), ("own_flops", record.get("own_flops"))):
        for convention, flops in _mapping(by_convention, field).items():
            row[f"{field}_{convention}"] = _number(flops, f"{field}.{convention}")
    for domain, values in _mapping(record.get("losses"), "losses").items():
        loss = _mapping(values, f"losses.{domain}")
        row[f"loss_{domain}"] = _number(loss["nats_per_token"], f"losses.{domain}.nats_per_token")
        row[f"loss_error_{domain}"] = _number(loss.get("standard_error"), f"losses.{domain}.standard_error")
    return row


def _schedule_name(schedule: dict[str, Any] | str | None) -> str:
    """The peak is the learning rate; a schedule that is only a name stands for itself."""
    return str(schedule.get("name", "") if isinstance(schedule, dict) else schedule or "")


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _MisusedFieldError(field, value, "an object")
    return value


def _number(value: Any, field: str) -> float:
    """A number of a record, NaN for null."""
    number = _as_number(value)
    if number is None:
        raise _MisusedFieldError(field, value, "a number")
    return number


def _as_number(value: Any) -> float | None:
    """A float, NaN for an empty cell and None for what is no number."""
    if value is None or pd.isna(value) is True:
        return math.nan
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


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

    Columns beyond these are kept; one named `loss_<domain>` is another loss to choose, `flops_<convention>` another count.

    Raises:
      TableError: naming the missing columns, or the rows (1 is the first data row) whose cells are not what they must be.
    """
    raw = frame.rename(columns=str).reset_index(drop=True)
    _refuse_missing(raw, source)
    _fill_texts(raw)
    _convert_numbers(raw, source)
    raw["params_total"] = raw.pop("params")
    raw[f"loss_{AS_GIVEN}"] = raw.pop("loss")
    raw["primary_domain"] = AS_GIVEN
    raw[f"loss_error_{AS_GIVEN}"] = raw.pop("loss_standard_error")
    if "flops" in raw.columns:
        raw[f"flops_{AS_GIVEN}"] = raw.pop("flops")
    raw[f"flops_{SIX_ND}"] = 6.0 * raw["params_total"] * raw["tokens"]
    if "params_non_embedding" in raw.columns:
        raw["flops_kaplan_6nd_non_embedding"] = 6.0 * raw["params_non_embedding"] * raw["tokens"]
    for domain in [name.removeprefix("loss_") for name in raw.columns if _is_loss(name)]:
        if f"loss_error_{domain}" not in raw.columns:
            raw[f"loss_error_{domain}"] = np.nan
    _refuse_duplicates(raw, source)
    return raw


def _is_loss(column: str) -> bool:
    return column.startswith("loss_") and not column.startswith("loss_error_")


def _refuse_missing(raw: pd.DataFrame, source: str) -> None:
    missing = [column for column in FILE_COLUMNS if column not in raw.columns]
    if missing:
        raise TableError(
            f"{source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(raw.columns)}",
            "rename the columns to params, tokens, loss [flops, run_id, seed, family]",
        )
    if raw.empty:
        raise TableError(f"{source} has no rows", "give a table with at least six runs")


def _fill_texts(raw: pd.DataFrame) -> None:
    """Gives every column of words its default, in empty cells too: a run that names no cluster is one of its own."""
    if "status" in raw.columns:
        # Nobody said that such a run was completed.
        raw["status"] = raw["status"].fillna("no status")
    row_names = pd.Series([f"row {row + 1}" for row in raw.index], index=raw.index)
    defaults = dict.fromkeys(("family", "reason", "role", "sweep_id", "schedule", "path"), "")
    defaults |= {"run_id": row_names, "kind": "pretrain", "status": "completed"}
    for column, default in defaults.items():
        raw[column] = _texts(raw, column, default)
    for column in ("name", "cluster"):
        raw[column] = _texts(raw, column, raw["run_id"])


def _texts(raw: pd.DataFrame, column: str, default: pd.Series | str) -> pd.Series:
    cells = raw[column] if column in raw.columns else pd.Series(None, index=raw.index)
    return cells.astype(object).where(cells.notna(), default).astype(str)


def _convert_numbers(raw: pd.DataFrame, source: str) -> None:
    """Makes every column of numbers float64; optional ones may have empty cells."""
    completed = raw["status"] == "completed"
    required = [name for name in (*FILE_COLUMNS, "flops", "params_non_embedding") if name in raw.columns]
    for column in required:
        raw[column] = _numbers(raw, column, completed, source, required=True)
    by_prefix = [name for name in raw.columns if name.startswith(("loss_", "flops_", "own_flops_"))]
    for column in dict.fromkeys((*_OPTIONAL_NUMBERS, *by_prefix)):
        raw[column] = _numbers(raw, column, completed, source) if column in raw.columns else np.nan


def _numbers(raw: pd.DataFrame, column: str, checked: pd.Series, source: str, required: bool = False) -> pd.Series:
    numbers = pd.Series([_as_number(cell) for cell in raw[column]], index=raw.index, dtype=np.float64)
    usable = np.isfinite(numbers) & (numbers > 0) if required else np.isfinite(numbers) | raw[column].isna()
    bad = checked & ~usable
    if bad.any():
        shown = ", ".join(f"row {row + 1} ({raw[column][row]!s})" for row in raw.index[bad][:5])
        more = f" and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
        raise TableError(
            f"{source}: the column {column} is not a {'positive ' * required}finite number in {shown}{more}",
            "remove those rows, or add a column status that is not 'completed' for them"
            if required
            else "correct those cells, leave them empty, or rename the column",
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
