"""Chinchilla, approach 1: the envelope of loss curves over compute.

At each of many log-spaced computes the size with the lowest loss is the optimal one; power laws go through those sizes.
Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1. Here every point of a curve is a *finished* run (its learning rate
decayed), so curves are read between the token budgets of each size and never beyond them.

With a handful of sizes the winners are a staircase, and a line through it errs by more than noise: its flat ends pull on
the slope, and a design that stops a stair early (no smaller or no larger size was trained to that compute) moves it
further. So the law goes through the risers: the computes at which one size hands over to another, both trained to it. In
a valley with one minimum two sizes of equal loss have the optimum between them, whatever else was tried there.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import curves, frontier
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_envelope"
EQUATION = "N_opt = k_N·C^a, D_opt = k_D·C^b through the computes where the best size changes; L_opt = E + A/C^gamma"
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 1"

COMPUTES = 240
_BUDGET_TOKENS = 4
_FEWEST_STEPS = 3
_STEPS = 5
_CENSORED = 0.3


def fit(table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9) -> Result | NotFitted:
    """Fits approach 1.

    Args:
      table: the runs.
      draws: bootstrap draws of its rows; the noise scheme is used, around the measured losses.
      level: coverage of the intervals.
    """
    lines = [line for line in curves.size_curves(table) if len(line.log_flops) > 1]
    if len(lines) < 3:
        reason = f"{len(lines)} sizes were trained on more than one token budget, and 3 are needed"
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    best = winners(lines, table, draws)
    points = hand_overs(lines, best)
    steps = int(np.isfinite(points.log_params[0]).sum())
    if steps < _FEWEST_STEPS:
        reason = (
            f"the best size is seen to change {steps} times between sizes that were both trained to that compute, and {_FEWEST_STEPS} "
            "times are needed; elsewhere the design decides which size is the best"
        )
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    flags = ["L(N, D) enters through curves read between finished token budgets (at most cubic in ln C)"]
    if steps < _STEPS:
        flags.append(f"the best size changes only {steps} times: few points for a line")
    shortest = sum(len(line.log_flops) < _BUDGET_TOKENS for line in lines)
    if shortest:
        flags.append(f"{shortest} of {len(lines)} sizes have fewer than {_BUDGET_TOKENS} token budgets")
    censored = 1 - best.inside[0].mean()
    if censored > _CENSORED:
        flags.append(
            f"at {100 * censored:.0f}% of computes the best size is the smallest or the largest trained to it: no optimum is seen there"
        )
    result = frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level,
        method=draws.method_of_readings, flags=tuple(flags),
        run_ids=tuple(table.frame["run_id"].iloc[np.flatnonzero(sum(line.average.any(axis=0) for line in lines))]),
        extra={}, details={"points": points, "lines": lines},
    )  # fmt: skip

    if steps >= _STEPS:
        return result
    return dataclasses.replace(result, certificate=dataclasses.replace(result.certificate, identifiability="weak"))


@dataclasses.dataclass(frozen=True)
class Winners:
    """The size with the lowest loss at every compute, for the table (first row) and every draw.

    Attributes:
      log_flops: the computes, float64[Q].
      covered: which of the sizes were trained to them, bool[S, Q].
      size: the best one, int64[1 + R, Q].
      log_loss: its loss, infinite where no size was trained, float64[1 + R, Q].
      inside: whether a smaller and a larger size than the best were trained as well, bool[1 + R, Q].
    """

    log_flops: FloatArray
    covered: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]
    log_loss: FloatArray
    inside: npt.NDArray[np.bool_]


def winners(lines: list[curves.SizeCurve], table: RunsTable, draws: bootstrap.Draws) -> Winners:
    """Reads every curve at log-spaced computes and keeps the lowest."""
    grid_Q = np.linspace(table.log("flops").min(), table.log("flops").max(), COMPUTES)
    covered = np.array([[line.covers(c) for c in grid_Q] for line in lines])
    lowest = np.full((1 + len(draws), len(grid_Q)), np.inf)
    winner = np.zeros(lowest.shape, np.int64)
    for index, line in enumerate(lines):
        columns = np.flatnonzero(covered[index])
        if not len(columns):
            continue
        reading = np.stack([line.reading(grid_Q[column]) for column in columns])
        losses = frontier.resampled(reading, table.log("loss"), draws)
        better = losses < lowest[:, columns]
        lowest[:, columns] = np.where(better, losses, lowest[:, columns])
        winner[:, columns] = np.where(better, index, winner[:, columns])
    first_Q, last_Q = covered.argmax(axis=0), len(lines) - 1 - covered[::-1].argmax(axis=0)
    return Winners(grid_Q, covered, winner, lowest, (winner > first_Q) & (winner < last_Q) & covered.any(axis=0))


def hand_overs(lines: list[curves.SizeCurve], best: Winners) -> frontier.Points:
    """Optima at the computes where the best size changes, half-way between the two sizes; NaN at all other computes.

    The loss is that of the envelope, wherever a smaller and a larger size than the best were tried or two sizes meet.
    """
    at_Q = (best.log_flops[:-1] + best.log_flops[1:]) / 2
    before, after = best.size[:, :-1], best.size[:, 1:]
    columns = np.arange(len(at_Q))
    # A size that ends or begins here did not win or lose the comparison: both must be trained on either side.
    seen = best.covered[before, columns] & best.covered[after, columns]
    seen &= best.covered[before, columns + 1] & best.covered[after, columns + 1]
    changes = (before != after) & seen
    sizes = np.array([line.log_params for line in lines])
    tokens = np.stack([line.tokens_at(at_Q) for line in lines])
    known = (best.inside[:, :-1] & best.inside[:, 1:]) | changes
    with np.errstate(invalid="ignore"):
        loss = (best.log_loss[:, :-1] + best.log_loss[:, 1:]) / 2
    return frontier.Points(
        at_Q,
        np.where(changes, (sizes[before] + sizes[after]) / 2, np.nan),
        np.where(changes, (tokens[before, columns] + tokens[after, columns]) / 2, np.nan),
        np.where(known, loss, np.nan),
        np.ones(len(at_Q)),
    )
