"""Runs that could be made next: a grid of sizes and tokens around and beyond the records, or a list that somebody brings."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.planning.run_cost import RunCost
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

_TOKEN_STEP = np.log(2.0) / 2
_BEYOND = 3
_COLUMNS = ("params", "tokens")


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Runs that could be made.

    Attributes:
      log_params, log_tokens: ln N and ln D, float64[J].
      cost: in the unit of the price, float64[J].
      name: of each, for readers; empty where it has none.
    """

    log_params: FloatArray
    log_tokens: FloatArray
    cost: FloatArray
    name: tuple[str, ...]


def grid(table: RunsTable, price: RunCost, budget: float, log_flops_target: float) -> Candidates:
    """Sizes of the records, those halfway between, and three beyond; tokens by factors of the square root of two.

    A candidate costs at most the budget, spends at most the target's compute, has at least the fewest tokens of the records, and at most
    the largest tokens per parameter seen, or eight times the most tokens.

    Args:
      table: the records.
      price: of a run.
      budget: in its unit.
      log_flops_target: ln C of the target.

    Raises:
      TableError: the budget affords none.
    """
    size_K, log_n_K, log_d_K = table.codes("params"), table.log("params"), table.log("tokens")
    sizes = np.bincount(size_K, log_n_K) / np.bincount(size_K)
    step = float(np.diff(sizes).mean())
    log_n = np.sort(np.concatenate([sizes, (sizes[1:] + sizes[:-1]) / 2, sizes[-1] + step * np.arange(1, _BEYOND + 1)]))
    most_tokens = max(float((log_d_K - log_n_K).max() + log_n.max()), float(log_d_K.max()))
    most_tokens = min(most_tokens, float(log_d_K.max()) + 6 * _TOKEN_STEP)
    log_d = np.arange(log_d_K.min(), most_tokens + 1e-9, _TOKEN_STEP)
    n, d = (axis.ravel() for axis in np.meshgrid(log_n, log_d, indexing="ij"))
    cost = price(n, d)
    kept = (cost <= budget) & (price.log_flops_per_token(n) + d <= log_flops_target + 1e-9)
    if not kept.any():
        cheapest = float(cost.min())
        raise TableError(
            f"the budget of {budget:.3g} {price.unit} affords no run: the cheapest considered costs {cheapest:.3g} {price.unit}",
            "raise the budget, or name cheaper runs by --candidates",
        )
    return Candidates(n[kept], d[kept], cost[kept], ("",) * int(kept.sum()))


def listed(frame: pd.DataFrame, source: str, price: RunCost, budget: float) -> Candidates:
    """Candidates from a user's table with `params, tokens` [`cost`, `name`]; those that the budget does not afford are left out.

    Args:
      frame: one row a run; `cost` in the unit of the budget, by default what the price says.
      source: of the frame, for messages.
      price: of a run.
      budget: in its unit.

    Raises:
      TableError: a column is missing, a row holds no positive number, or the budget affords none.
    """
    missing = [column for column in _COLUMNS if column not in frame.columns]
    if missing or frame.empty:
        what = f"lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}" if missing else "has no rows"
        raise TableError(f"{source} {what}", "give one row a candidate, with params, tokens [cost, name]")
    numbers = frame[[*_COLUMNS, *(["cost"] if "cost" in frame else [])]].apply(pd.to_numeric, errors="coerce")
    bad = ~((numbers > 0) & np.isfinite(numbers)).all(axis=1)
    if bad.any():
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(bad)[:5])
        raise TableError(
            f"{source}: params, tokens or cost is not a positive number in row {rows}", "correct those rows"
        )
    n, d = (np.log(numbers[column].to_numpy(np.float64)) for column in _COLUMNS)
    cost = numbers["cost"].to_numpy(np.float64) if "cost" in numbers else price(n, d)
    kept = cost <= budget
    if not kept.any():
        raise TableError(
            f"the budget of {budget:.3g} {price.unit} affords none of {source}, whose cheapest costs {cost.min():.3g}",
            "raise the budget",
        )
    names = frame["name"].astype(str).tolist() if "name" in frame else [""] * len(frame)
    return Candidates(n[kept], d[kept], cost[kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep))
