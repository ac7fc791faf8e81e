"""Reads what Weights & Biases leaves: tables exported from its pages or its API, and the run directories on disk.

* A CSV from the runs table of a project, with the columns `Name` and `State`, and configuration and summary as further columns.
* One row a run from `wandb.Api().runs(...)`, with `config` and `summary` as objects (JSON, JSON lines) or as the text of Python
  dictionaries (the CSV of the export example in W&B's documentation). Their entries become `config.KEY` and `summary.KEY`.
* `wandb/run-DATE-ID/files/` with `config.yaml` and `wandb-summary.json`.
"""

import ast
import json
import re
from typing import Any

import pandas as pd
import yaml
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables import files
from analysis.laws.tables.columns import OPEN
from analysis.laws.tables.found import Found

_RUN = re.compile(r"(?:offline-)?run-(?P<started>\d{8}_\d{6})-(?P<id>[^-]+)")
_CONFIG, _SUMMARY = "files/config.yaml", "files/wandb-summary.json"
_PARTS = ("config", "summary", "summary_metrics")
# What W&B says of itself, not of the run.
_OWN = re.compile(r"(config|summary|summary_metrics)\._wandb(\.|$)")
_OF_THE_PAGE = {"Name", "State"}


def is_export(found: Found) -> bool:
    """Whether a table comes from W&B: from a project's page, or with configuration and summary of each run."""
    names = set(map(str, found.frame.columns))
    return names >= _OF_THE_PAGE or bool(
        _nested(names, "config") and (_nested(names, "summary") or _nested(names, "summary_metrics"))
    )


def _nested(names: set[str], part: str) -> bool:
    return part in names or any(name.startswith(part + ".") for name in names)


def understood(found: Found) -> Found:
    """An export whose configuration and summary are columns, one an entry.

    Raises:
      TableError: a cell of `config` or `summary` is no dictionary; its row is named.
    """
    frame = found.frame
    for part in (name for name in _PARTS if name in frame.columns):
        entries = [_dictionary(cell, part, row, found) for row, cell in frame[part].items()]
        spread = pd.DataFrame([files.flat(item, f"{part}.") for item in entries], index=frame.index)
        frame = pd.concat([frame.drop(columns=part), spread], axis=1)
    # The API's raw configuration wraps each value in an object.
    wrapped = {
        name: name.removesuffix(".value")
        for name in frame.columns
        if name.startswith("config.") and name.endswith(".value")
    }
    frame = frame.rename(columns={old: new for old, new in wrapped.items() if new not in frame.columns})
    frame = frame[[name for name in frame.columns if not _OWN.match(name)]]
    # `loss_fn` of a configuration is not another loss.
    frame = frame.rename(columns={name: f"config.{name}" for name in frame.columns if name.startswith(OPEN)})
    unfinished = "State" if "State" in frame.columns else "state"
    if unfinished in frame.columns and "reason" not in frame.columns:
        frame = frame.assign(reason=frame[unfinished].map(lambda state: "" if state == "finished" else "as W&B says"))
    questions = (
        () if unfinished in frame.columns else ("the W&B export does not say how its runs ended (no column State)",)
    )
    return Found(
        frame,
        found.source,
        found.first_line,
        found.names,
        ("a W&B export", *found.recognised),
        (*found.questions, *questions),
    )


def _dictionary(cell: Any, part: str, row: int, found: Found) -> dict[str, Any]:
    if isinstance(cell, dict):
        return cell
    if cell is None or pd.isna(cell) is True:
        return {}
    try:
        item = _literal(str(cell))
    except (ValueError, SyntaxError) as error:
        where = found.rows(pd.Series(found.frame.index == row, found.frame.index))
        raise TableError(
            f"{found.source}: the column {part} holds no dictionary in {where}",
            "write each run as JSON (json.dumps) in a .jsonl",
        ) from error
    return item


def _literal(text: str) -> dict[str, Any]:
    """A dictionary written as JSON or as Python writes it, nan and inf included."""
    try:
        item = json.loads(text)
    except json.JSONDecodeError:
        item = ast.literal_eval(re.sub(r"(?<=[:\[,(\s])(-?)(nan|inf)(?=[,}\])\s])", _finite_literal, text))
    if not isinstance(item, dict):
        raise ValueError("not a dictionary")
    return item


def _finite_literal(match: re.Match[str]) -> str:
    return "None" if match[2] == "nan" else f"{match[1]}1e999"


def directories(location: epath.Path) -> list[epath.Path]:
    """Run directories: `location` itself, or those in it or in its directory `wandb`."""
    if _RUN.fullmatch(location.name):
        return [location]
    inner = location / "wandb"
    parent = inner if inner.is_dir() else location
    return sorted(path for path in parent.iterdir() if _RUN.fullmatch(path.name) and path.is_dir())


def read(location: epath.Path) -> Found:
    """One row a run from the run directories.

    W&B writes configuration and summary when a run ends, and does not write how it ended. A run resumed in a later directory is
    read from there.

    Raises:
      TableError: there is no run directory, none has a summary, or a file is malformed.
    """
    found = directories(location)
    if not found:
        raise TableError(
            f"{location} holds no run directory of W&B (run-DATE-ID)", "give the directory wandb, or an export"
        )
    latest = {_RUN.fullmatch(path.name)["id"]: path for path in sorted(found, key=_started)}
    rows = [_row(run_id, path) for run_id, path in latest.items()]
    if not any(row["status"] == "completed" for row in rows):
        raise TableError(
            f"{location}: none of the {len(rows)} runs has {_SUMMARY}, which W&B writes when it is online and a run ends",
            "run `wandb sync`, then export the runs as CSV from the project's page",
        )
    said = f"W&B run directories: {len(rows)} runs"
    if len(found) > len(latest):
        said += f", of {len(found) - len(latest)} of them an earlier part is left out"
    question = "run directories of W&B do not say whether a run that has a summary ended as it should; an export from its page does"
    return Found(pd.DataFrame(rows), str(location), names="run_id", recognised=(said,), questions=(question,))


def _started(path: epath.Path) -> str:
    match = _RUN.fullmatch(path.name)
    assert match is not None
    return match["started"]


def _row(run_id: str, path: epath.Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run_id": run_id, "path": str(path), "status": "completed", "reason": ""}
    missing = [name for name in (_CONFIG, _SUMMARY) if not (path / name).exists()]
    if missing:
        return row | {"status": "unfinished", "reason": f"there is no {' and no '.join(missing)}"}
    config, summary = _mapping(path / _CONFIG, yaml.safe_load), _mapping(path / _SUMMARY, json.loads)
    values = {
        key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry for key, entry in config.items()
    }
    values.pop("wandb_version", None)
    entries = files.flat(values, "config.") | files.flat(summary, "summary.")
    return row | {name: value for name, value in entries.items() if not _OWN.match(name)}


def _mapping(path: epath.Path, parse: Any) -> dict[str, Any]:
    try:
        item = parse(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise TableError(
            f"{path} cannot be read: {' '.join(str(error).split())}", "restore it, or remove the run"
        ) from error
    if not isinstance(item, dict):
        raise TableError(f"{path} is no mapping", "restore it, or remove the run")
    return item
