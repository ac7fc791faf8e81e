"""Chinchilla, approach 1: the envelope of loss curves over compute.

At each compute the size with the lowest loss is the optimal one; power laws go through those sizes. Hoffmann et al. 2022
(arXiv:2203.15556), section 3.1. Here every point of a curve is a *finished* run (its learning rate decayed), so curves are
read between the token budgets of each size and never beyond them.

With a handful of sizes the winners are a staircase, and a line through it errs by more than noise: its flat ends pull on the
slope, and a design that stops a stair early (no smaller or no larger size was trained to that compute) moves it further. So the
law goes through the hand-overs: the computes at which a size is overtaken by the next larger one. In a valley with one minimum
two sizes of equal loss have the optimum between them, whatever else was tried there.

The sizes are exact and the computes of the hand-overs are what noise moves, so ln C is regressed on ln N and the line inverted.
Regressed the other way round, noise in ln C flattens the slope: at 0.5% noise a came out 0.03 to 0.04 too low (a test of its own
simulates both). The forms as published are :mod:`analysis.laws.optima.lowest_size` and :mod:`analysis.laws.optima.hull`.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import curves, frontier, hand_overs
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_envelope"
EQUATION = "N_opt = k_N·C^a, D_opt = k_D·C^b through the computes where the best size changes; L_opt = E + A/C^gamma"
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 1"

COMPUTES = 240
_BUDGET_TOKENS = 4
_FEWEST_CHANGES = 3
_CHANGES = 5
_CENSORED = 0.3
_LOST = 0.1


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
    found = hand_overs.between_neighbours(lines, table, draws)
    changes = len(found.log_params)
    if changes < _FEWEST_CHANGES:
        reason = (
            f"the best size is seen to change {changes} times between sizes that were both trained to that compute, and "
            f"{_FEWEST_CHANGES} times are needed; elsewhere the design decides which size is the best"
        )
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    grid_Q = np.linspace(table.log("flops").min(), table.log("flops").max(), COMPUTES)
    best = winners(lines, np.sort(np.concatenate([grid_Q, found.log_flops[0]])), table, draws)
    points = _points(found, best)
    result = frontier.result_of(
        points, lines=hand_overs.power_laws(found), name=NAME, equation=EQUATION, source=SOURCE, level=level,
        method=draws.method_of_readings, flags=_flags(lines, found, best),
        run_ids=tuple(table.frame["run_id"].iloc[np.flatnonzero(sum(line.average.any(axis=0) for line in lines))]),
        extra={}, details={"points": points, "lines": lines, "hand_overs": found},
    )  # fmt: skip
    if changes >= _CHANGES:
        return result
    return dataclasses.replace(result, certificate=dataclasses.replace(result.certificate, identifiability="weak"))


def _flags(lines: list[curves.SizeCurve], found: hand_overs.HandOvers, best: "Winners") -> tuple[str, ...]:
    flags = ["L(N, D) enters through curves read between finished token budgets (at most cubic in ln C)"]
    changes = len(found.log_params)
    if changes < _CHANGES:
        flags.append(f"the best size changes only {changes} times: few points for a line")
    shortest = sum(len(line.log_flops) < _BUDGET_TOKENS for line in lines)
    if shortest:
        flags.append(f"{shortest} of {len(lines)} sizes have fewer than {_BUDGET_TOKENS} token budgets")
    censored = 1 - best.inside[0].mean()
    if censored > _CENSORED:
        flags.append(
            f"at {100 * censored:.0f}% of computes the best size is the smallest or the largest trained to it: no optimum is seen there"
        )
    lost = found.lost.max()
    if lost > _LOST:
        flags.append(
            f"in up to {100 * lost:.0f}% of replicates two sizes no longer meet: the valleys are flat for this noise"
        )
    return tuple(flags)


@dataclasses.dataclass(frozen=True)
class Winners:
    """The size with the lowest loss at every compute, for the table (first row) and every draw.

    Attributes:
      log_flops: the computes, float64[Q].
      log_loss: the lowest loss, infinite where no size was trained, float64[1 + R, Q].
      inside: whether a smaller and a larger size than the best were trained as well, bool[1 + R, Q].
    """

    log_flops: FloatArray
    log_loss: FloatArray
    inside: npt.NDArray[np.bool_]


def winners(
    lines: list[curves.SizeCurve], log_flops_Q: FloatArray, table: RunsTable, draws: bootstrap.Draws
) -> Winners:
    """Reads every curve at the computes and keeps the lowest."""
    covered = np.array([[line.covers(c) for c in log_flops_Q] for line in lines])
    lowest = np.full((1 + len(draws), len(log_flops_Q)), np.inf)
    winner = np.zeros(lowest.shape, np.int64)
    for index, line in enumerate(lines):
        columns = np.flatnonzero(covered[index])
        if not len(columns):
            continue
        losses = frontier.resampled(line.readings(log_flops_Q[columns]), table.log("loss"), draws)
        better = losses < lowest[:, columns]
        lowest[:, columns] = np.where(better, losses, lowest[:, columns])
        winner[:, columns] = np.where(better, index, winner[:, columns])
    first_Q, last_Q = covered.argmax(axis=0), len(lines) - 1 - covered[::-1].argmax(axis=0)
    return Winners(log_flops_Q, lowest, (winner > first_Q) & (winner < last_Q) & covered.any(axis=0))


def _points(found: hand_overs.HandOvers, best: Winners) -> frontier.Points:
    """The envelope's loss where it is one, and the sizes and tokens of the table's own hand-overs among its computes."""
    at = np.searchsorted(best.log_flops, found.log_flops[0])
    log_params, log_tokens = (np.full(best.log_loss.shape, np.nan) for _ in range(2))
    log_params[0, at], log_tokens[0, at] = found.log_params, found.log_tokens[0]
    known = best.inside.copy()
    # Where two sizes meet the optimum lies between them, even if no third was tried.
    known[:, at] = True
    return frontier.Points(
        best.log_flops, log_params, log_tokens, np.where(known, best.log_loss, np.nan), np.ones(len(best.log_flops))
    )
