"""IsoFLOP slices: the losses of several sizes at one compute budget, which both variants of approach 2 look at.

Budgets are those of the *actual* FLOPs, within 10% of each other; D is never derived from C. A sweep without budgets is read
off each size's loss along its token budgets.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.optima import curves
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

BUDGET_TOLERANCE = 0.1
MINIMUM_SIZES = 3
ENOUGH_SIZES = 5
INTERPOLATED_FLAG = (
    "the sweep has no IsoFLOP budgets: slices were read off each size's loss along its token budgets (at most cubic in ln C), "
    "and are not independent"
)
_INTERPOLATED_BUDGETS = 8


@dataclasses.dataclass(frozen=True)
class Slice:
    """One IsoFLOP budget: ln C, and ln N, ln D and the reading of ln L [S, K] at its S sizes."""

    log_flops: float
    log_params: FloatArray
    log_tokens: FloatArray
    reading: FloatArray


def slices(table: RunsTable) -> tuple[list[Slice], bool]:
    """The budgets of a table, and whether they had to be interpolated along each size's curve."""
    trained = _trained_slices(table)
    covered = sum(np.count_nonzero(part.reading.any(axis=0)) for part in trained)
    if len(trained) >= 2 and covered >= 0.6 * len(table):
        return trained, False
    return _interpolated_slices(table), True


def _trained_slices(table: RunsTable) -> list[Slice]:
    log_flops, size_K = table.log("flops"), table.codes("params")
    budget_K = grouped(log_flops, BUDGET_TOLERANCE)
    found = []
    for budget in np.unique(budget_K):
        rows = np.flatnonzero(budget_K == budget)
        sizes = np.unique(size_K[rows])
        if len(sizes) < MINIMUM_SIZES or np.ptp(log_flops[rows]) > 2 * BUDGET_TOLERANCE:
            continue
        average = (size_K[None, :] == sizes[:, None]) & (budget_K == budget)[None, :]
        reading = average / average.sum(axis=1, keepdims=True)
        found.append(
            Slice(float(log_flops[rows].mean()), reading @ table.log("params"), reading @ table.log("tokens"), reading)
        )
    return found


def _interpolated_slices(table: RunsTable) -> list[Slice]:
    lines = curves.size_curves(table)
    grid = np.linspace(table.log("flops").min(), table.log("flops").max(), 200)
    cover = np.array([sum(line.covers(c) for line in lines) for c in grid])
    needed = max(MINIMUM_SIZES, min(ENOUGH_SIZES, int(cover.max()) - 1))
    usable = grid[cover >= needed]
    if not len(usable):
        return []
    found = []
    for log_flops in np.linspace(usable[0], usable[-1], _INTERPOLATED_BUDGETS):
        here = [line for line in lines if line.covers(log_flops)]
        if len(here) >= MINIMUM_SIZES:
            found.append(Slice(
                float(log_flops), np.array([line.log_params for line in here]),
                np.array([float(line.tokens_at(log_flops)) for line in here]),
                np.stack([line.reading(log_flops) for line in here]),
            ))  # fmt: skip
    return found


def lowest_inside(log_loss_RxS: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether the lowest loss of every row is at neither edge of its sizes, bool[R].

    A minimum between points beside losses that fall to the last size is the curve's doing: where the valley turns was not seen.
    """
    lowest_R = np.argmin(log_loss_RxS, axis=1)
    return (lowest_R > 0) & (lowest_R < log_loss_RxS.shape[1] - 1)


def run_ids_of(kept: list[Slice], table: RunsTable) -> tuple[str, ...]:
    """The runs that enter any of the slices, in the order of the table."""
    used = np.unique(np.concatenate([np.flatnonzero(part.reading.any(axis=0)) for part in kept]))
    return tuple(table.frame["run_id"].iloc[used])


def left_out_flag(why: str, budgets: list[float]) -> str:
    """The sentence that says which budgets (ln C) do not count, and why."""
    return f"left out, because {why}: {', '.join(f'{np.exp(c):.2e}' for c in budgets)} FLOPs"
