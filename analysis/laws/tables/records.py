"""Reads a tree of record.json files (the format of scaling.records) into a raw frame.

Beside what :mod:`analysis.laws.tables.foreign` says of raw frames, records add what they cost (`own_flops_<convention>`,
`wall_seconds`, `device_seconds`) and where they come from (`store_hash`, `git_commit`, `created`).
"""

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables import quantities

RECORD = "record.json"
# What lies beside a record: no run is in there, and on an object store every look at a name costs a request.
_NOT_RUNS = ("checkpoints", "attempts", "spec.json", "config.gin", "operative.gin", "lock")


def paths(directory: epath.Path) -> list[epath.Path]:
    """Every record.json at any depth, without listing the checkpoints and attempts of each run.

    Raises:
      TableError: a directory cannot be listed.
    """
    try:
        return sorted(_under(directory))
    except OSError as error:
        raise TableError(
            f"{error.filename or directory} cannot be listed: {error.strerror}", "make it readable"
        ) from error


def _under(directory: epath.Path) -> Iterator[epath.Path]:
    for path in directory.iterdir():
        if path.name == RECORD:
            yield path
        elif path.name not in _NOT_RUNS and path.is_dir():
            yield from _under(path)


def read(record_paths: list[epath.Path]) -> pd.DataFrame:
    """One row for every record of pretraining; records of alignment, which have `parents` in the place of a loss, are passed over.

    Raises:
      TableError: a record cannot be read, lacks a field or misuses one, two records are of one run, or all are of alignment; the files are named.
    """
    rows = [row for path in record_paths if (row := _row_of_record(path)) is not None]
    if record_paths and not rows:
        raise TableError(
            f"all {len(record_paths)} records are of alignment, such as {record_paths[0]}, and none of pretraining",
            "point --runs at the directory that a sweep wrote; python -m analysis.frontier reads records of alignment",
        )
    frame = pd.DataFrame(rows)
    repeated = frame["run_id"][frame["run_id"].duplicated()].unique()
    if len(repeated):
        where = " and ".join(frame.loc[frame["run_id"] == repeated[0], "path"][:2])
        raise TableError(
            f"the run {repeated[0]!r} is recorded in {where}"
            + (f", and {len(repeated) - 1} more runs are recorded twice" if len(repeated) > 1 else ""),
            "point --runs at one copy of each run",
        )
    return frame


def is_of_alignment(record: dict[str, Any]) -> bool:
    """Whether a record is of a stage of alignment: these name their `parents` (policy, reference, reward), a branch its `parent`."""
    return "parents" in record


def load(path: epath.Path) -> dict[str, Any]:
    """A record as it was written.

    Raises:
      TableError: it cannot be read, or is no JSON object.
    """
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
    return record


def _row_of_record(path: epath.Path) -> dict[str, Any] | None:
    record = load(path)
    if is_of_alignment(record):
        return None
    try:
        return flattened(record, str(path.parent))
    except KeyError as error:
        raise TableError(f"{path} lacks the field {error}", "remove the file or write a complete record") from error
    except _MisusedFieldError as error:
        raise TableError(f"{path}: {error}", "remove the file or correct the field") from error


class _MisusedFieldError(Exception):
    """A field of a record has a value of another type than its own."""

    def __init__(self, field: str, value: Any, expected: str):
        super().__init__(f"the field {field} is {value!r}, not {expected}")


def flattened(record: dict[str, Any], path: str) -> dict[str, Any]:
    """One row of a raw frame; `path` is the run's directory. Raises KeyError for a missing field."""
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
    for field in ("store_hash", "git_commit", "created", "primary_domain"):
        row[field] = None if record.get(field) is None else str(record[field])
    for field in ("seed", "unique_tokens", "epochs", "learning_rate", "batch_tokens", "wall_seconds", "device_seconds"):
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
        if loss.get("entropy_nats_per_token") is not None:
            row[f"entropy_{domain}"] = _number(
                loss["entropy_nats_per_token"], f"losses.{domain}.entropy_nats_per_token"
            )
            row[f"entropy_error_{domain}"] = _number(loss.get("entropy_error"), f"losses.{domain}.entropy_error")
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
    number = quantities.number(value)
    if number is None:
        raise _MisusedFieldError(field, value, "a number")
    return number
