"""Chinchilla, approach 1: the envelope of loss curves over compute.

At each of many log-spaced computes the size with the lowest loss is the optimal one; power laws go through those sizes.
Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1. Here every point of a curve is a *finished* run (its learning rate
decayed), so curves are read between the token budgets of each size and never beyond them.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws import bootstrap, curves, frontier
from analysis.laws.result import NotFitted, Result
from analysis.laws.table import RunsTable

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_envelope"
EQUATION = (
    "N_opt = k_N·C^a, D_opt = k_D·C^b through the sizes with the lowest loss at each compute; L_opt = E + A/C^gamma"
)
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 1"

COMPUTES = 240
_BUDGET_TOKENS = 4
_STEPS = 4


def fit(table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9) -> Result | NotFitted:
    """Fits approach 1.

    A compute counts where at least two sizes were trained to it, and where the best is neither the smallest nor the
    largest size of the table (there the optimum may lie outside).

    Args:
      table: the runs.
      draws: bootstrap draws of its rows; the residual scheme is used, around the measured losses.
      level: coverage of the intervals.
    """
    lines = [line for line in curves.size_curves(table) if len(line.log_flops) > 1]
    if len(lines) < 3:
        reason = f"{len(lines)} sizes were trained on more than one token budget, and 3 are needed"
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    grid_Q = np.linspace(table.log("flops").min(), table.log("flops").max(), COMPUTES)
    covered = np.array([[line.covers(c) for c in grid_Q] for line in lines])
    grid_Q, covered = grid_Q[covered.sum(axis=0) >= 2], covered[:, covered.sum(axis=0) >= 2]
    best = _best(lines, covered, grid_Q, table.log("loss"), draws)
    interior = np.isfinite(best.log_params[0])
    sizes = len(np.unique(best.log_params[0][interior]))
    if sizes < 2:
        return NotFitted(NAME, EQUATION, SOURCE, "no two sizes inside the ladder are the best of their compute")
    points = frontier.Points(
        grid_Q[interior], best.log_params[:, interior], best.log_tokens[:, interior], best.log_loss[:, interior],
        np.ones(int(interior.sum())),
    )  # fmt: skip
    flags = ["L(N, D) enters through curves read between finished token budgets (at most cubic in ln C)"]
    if sizes < _STEPS:
        flags.append(
            f"only {sizes} sizes inside the ladder are ever the best: the staircase that the law goes through has few steps"
        )
    shortest = sum(len(line.log_flops) < _BUDGET_TOKENS for line in lines)
    if shortest:
        flags.append(f"{shortest} of {len(lines)} sizes have fewer than {_BUDGET_TOKENS} token budgets")
    excluded = 1 - interior.mean()
    if excluded > 0.3:
        flags.append(
            f"at {100 * excluded:.0f}% of computes the best size is the smallest or the largest of the table: left out"
        )
    result = frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level,
        method=draws.residuals_only().method if len(draws) else "no bootstrap", flags=tuple(flags),
        run_ids=tuple(table.frame["run_id"].iloc[np.flatnonzero(sum(line.average.any(axis=0) for line in lines))]),
        extra={}, details={"points": points, "lines": lines},
    )  # fmt: skip

    if sizes >= _STEPS:
        return result
    return dataclasses.replace(result, certificate=dataclasses.replace(result.certificate, identifiability="weak"))


def _best(lines, covered, grid_Q, y_K, draws) -> frontier.Points:  # noqa: ANN001 - one step of fit
    """The best size at every compute, for the table and every draw; NaN where it is the smallest or largest size."""
    replicates = 1 + len(draws)
    lowest = np.full((replicates, len(grid_Q)), np.inf)
    winner = np.zeros((replicates, len(grid_Q)), np.int64)
    log_tokens = np.zeros((len(lines), len(grid_Q)))
    for index, line in enumerate(lines):
        columns = np.flatnonzero(covered[index])
        if not len(columns):
            continue
        reading = np.stack([line.reading(grid_Q[column]) for column in columns])
        losses = frontier.resampled(reading, y_K, draws)
        log_tokens[index] = line.tokens_at(grid_Q)
        better = losses < lowest[:, columns]
        lowest[:, columns] = np.where(better, losses, lowest[:, columns])
        winner[:, columns] = np.where(better, index, winner[:, columns])
    sizes = np.array([line.log_params for line in lines])
    inside = (winner > 0) & (winner < len(lines) - 1)
    log_params = np.where(inside, sizes[winner], np.nan)
    tokens = np.where(inside, np.take_along_axis(log_tokens, winner, axis=0), np.nan)
    return frontier.Points(grid_Q, log_params, tokens, np.where(inside, lowest, np.nan), np.ones(len(grid_Q)))
