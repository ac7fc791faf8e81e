"""Reads CSV, TSV, Parquet, JSON and JSON lines, as they are."""

import io
import json
from collections.abc import Callable
from typing import Any

import pandas as pd
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables.found import Found


def read(location: epath.Path) -> Found:
    """Reads a table file by its suffix; objects inside a JSON object become columns with dots in their names.

    Raises:
      TableError: the suffix is unknown, or the file is malformed; the line of a JSON-lines file is named.
    """
    reader = _READERS.get(location.suffix.lower())
    if reader is None:
        raise TableError(
            f"{location} is neither a directory nor one of {', '.join(_READERS)}, .db", "convert the table to CSV"
        )
    try:
        content = location.read_bytes()
        frame, first_line = reader(content)
    # pandas, pyarrow and json: every malformed file.
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        raise TableError(f"{location} cannot be read as {location.suffix[1:]}: {message}", "repair the file") from error
    return Found(frame.rename(columns=str).reset_index(drop=True), str(location), first_line)


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """An object whose objects are spread out: `{"a": {"b": 1}}` is `{"a.b": 1}`."""
    spread: dict[str, Any] = {}
    for key, value in nested.items():
        spread |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return spread


def _separated(separator: str) -> Callable[[bytes], tuple[pd.DataFrame, int | None]]:
    def read_separated(content: bytes) -> tuple[pd.DataFrame, int | None]:
        frame = pd.read_csv(io.BytesIO(content), sep=separator)
        # A quoted cell may span lines, and empty lines are no rows; then a row's line is not known.
        one_line_each = len(content.rstrip().splitlines()) == len(frame) + 1
        return frame, 2 if one_line_each else None

    return read_separated


def _json_lines(content: bytes) -> tuple[pd.DataFrame, int | None]:
    rows, lines = [], content.decode("utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_object(line, f"line {number}"))
    return pd.DataFrame(rows), 1 if len(rows) == len(lines) else None


def _json(content: bytes) -> tuple[pd.DataFrame, int | None]:
    items = json.loads(content.decode("utf-8-sig"))
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("it is not a list of objects, one a run")
    return pd.DataFrame([flat(item) for item in items]), None


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error.msg})") from error
    if not isinstance(item, dict):
        raise ValueError(f"{where} is not a JSON object")
    return flat(item)


_READERS: dict[str, Callable[[bytes], tuple[pd.DataFrame, int | None]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": lambda content: (pd.read_parquet(io.BytesIO(content)), None),
    ".jsonl": _json_lines,
    ".json": _json,
}
