"""Cells to numbers: "70M", "1.4T" and "1,234,567" are what people write, and a table may count in millions or billions."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd

# Of counts only. The letters are those of "70M parameters" and "1.4T tokens"; E is left to exponents, as in 1E21.
SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15}
_SUFFIXED = re.compile(r"(?P<number>.*[\d.])\s*(?P<suffix>[kmbgtp])", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")

# A ladder whose largest value is below these counts in thousands, millions or billions, or is none that a law can be fitted to.
LEAST = {"params": 1e3, "params_non_embedding": 1e3, "tokens": 1e4, "unique_tokens": 1e4, "flops": 1e9}


def number(cell: Any, suffixes: bool = False) -> float | None:
    """A float, NaN for an empty cell and None for what is no number.

    Args:
      cell: a number, or text such as `"1,234"`.
      suffixes: whether `70M` means 70 million.
    """
    if isinstance(cell, bool | np.bool_):
        return None
    if isinstance(cell, str):
        return _number_of_text(cell.strip().strip("\"'"), suffixes)
    if cell is None or pd.isna(cell) is True:
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def _number_of_text(text: str, suffixes: bool) -> float | None:
    if not text:
        return math.nan
    scale = 1.0
    if suffixes and (match := _SUFFIXED.fullmatch(text)):
        text, scale = match["number"], SUFFIXES[match["suffix"].lower()]
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        return scale * float(text)
    except ValueError:
        return None


def suffixed(cell: Any) -> bool:
    """Whether a cell carries its own unit."""
    return isinstance(cell, str) and _SUFFIXED.fullmatch(cell.strip().strip("\"'")) is not None


def numbers(cells: pd.Series, suffixes: bool = False) -> tuple[pd.Series, pd.Series]:
    """A column as float64, and which of its cells are no numbers (NaN there); an empty cell is NaN and no offence."""
    if pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype):
        values = cells.to_numpy(np.float64, na_value=math.nan)
        return pd.Series(values, cells.index), pd.Series(False, index=cells.index)
    parsed = [number(cell, suffixes) for cell in cells]
    values = pd.Series([math.nan if value is None else value for value in parsed], cells.index, dtype=np.float64)
    return values, pd.Series([value is None for value in parsed], cells.index, dtype=bool)


def in_words(column: str, values: pd.Series) -> str | None:
    """The question that a column raises whose values are too small to be counts; None if there is none."""
    largest = values.max()
    if column not in LEAST or not largest < LEAST[column]:
        return None
    return (
        f"the largest {column} is {largest:.4g}: that looks like millions or billions; "
        f"say --units={column}=1e6, or 1e9, if it is"
    )
