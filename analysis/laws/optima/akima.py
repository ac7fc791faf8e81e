"""Approach 2 without a parabola: the minimum of a curve through the points, found again under seed noise.

At each budget an Akima interpolant of ln L in ln N (and one in ln D) follows the points, so a lopsided valley leaves its
minimum where it is. What it costs is noise, and that is measured: losses are perturbed by the noise of a seed, every replicate
has its own minimum, the optimum is their median and its weight 1/variance in the power laws. Porian et al. 2024
(arXiv:2406.19146), section 3 and appendix.

A budget counts where it holds three sizes, the minimum of the interpolant lies between the first and the last, and at least half of
the replicates find a minimum inside as well. (That the lowest *point* is not at an edge is not asked, as it is of a parabola: the
interpolant passes through the points and cannot invent a valley far from them.) The standard deviation of a minimum is taken as no
smaller than a third of the mean spacing of the sizes, since no curve knows more between its points, and grows by the share of
replicates that lost theirs.
"""

import collections
import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import frontier
from analysis.laws.optima.slices import (
    INTERPOLATED_FLAG,
    MINIMUM_SIZES,
    Slice,
    left_out_flag,
    run_ids_of,
    slices,
)
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_isoflop_akima"
EQUATION = (
    "N_opt = k_N·C^a, D_opt = k_D·C^b from the minima of Akima interpolants of IsoFLOP slices; L_opt = E + A/C^gamma"
)
SOURCE = "Porian et al. 2024 (arXiv:2406.19146), section 3"

_SPACING_KNOWN = 1 / 3
_REPLICATES_NEEDED = 0.5
_FEWEST_DRAWS = 20


@dataclasses.dataclass(frozen=True)
class Minima:
    """Minima of interpolants through rows of losses [R, S]: ln X and ln L, and whether they lie inside, each [R]; else NaN."""

    position: FloatArray
    log_loss: FloatArray
    inside: npt.NDArray[np.bool_]


def minima(x_S: FloatArray, log_loss_RxS: FloatArray) -> Minima:
    """The lowest point of the Akima interpolant through every row, exactly: where a cubic piece is level, or a knot.

    Args:
      x_S: ln N or ln D of the sizes, in any order, at least three and all different.
      log_loss_RxS: ln L there.
    """
    order = np.argsort(x_S)
    x_S, log_loss_RxS = x_S[order], log_loss_RxS[:, order]
    cubic, square, slope, height = Akima1DInterpolator(x_S, log_loss_RxS.T).c  # each [S - 1, R], in powers of x − x_s
    width = np.diff(x_S)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(square**2 - 3 * cubic * slope)
        # The level point of a cubic that is a minimum, in the form that does not cancel where the cubic term is small.
        level = np.where(square > 0, -slope / (square + root), (root - square) / (3 * cubic))
    level = np.where((level > 0) & (level < width), level, 0.0)
    losses = ((cubic * level + square) * level + slope) * level + height
    lowest = np.argmin(losses, axis=0)
    rows = np.arange(len(log_loss_RxS))
    position, loss = (x_S[:-1, None] + level)[lowest, rows], losses[lowest, rows]
    inside = (position > x_S[0]) & (loss < log_loss_RxS[:, -1])
    return Minima(np.where(inside, position, np.nan), np.where(inside, loss, np.nan), inside)


@dataclasses.dataclass(frozen=True)
class _Budget:
    """What one slice says: its minima in ln N and ln D, the weight of the optimum, or why it is left out."""

    by_params: Minima
    by_tokens: Minima
    deviation: float
    reason: str


def _judged(part: Slice, table: RunsTable, draws: bootstrap.Draws) -> _Budget:
    log_loss = frontier.resampled(part.reading, table.log("loss"), draws)
    in_n, in_d = minima(part.log_params, log_loss), minima(part.log_tokens, log_loss)
    share = float(in_n.inside[1:].mean()) if len(draws) else 1.0
    reason = ""
    if not (in_n.inside[0] and in_d.inside[0]):
        reason = "its interpolant has no minimum inside its sizes"
    elif share < _REPLICATES_NEEDED:
        reason = "fewer than half of the replicates have a minimum inside its sizes"
    spread = float(np.nanstd(in_n.position[1:])) if len(draws) and not reason else 0.0
    spacing = float(np.ptp(part.log_params)) / (len(part.log_params) - 1)
    return _Budget(in_n, in_d, max(spread, _SPACING_KNOWN * spacing) / max(share, 1e-9), reason)


def _centred_on_median(minima_R: FloatArray) -> FloatArray:
    """The replicates with their median in front, which stands for the measured minimum."""
    if len(minima_R) <= _FEWEST_DRAWS:
        return minima_R
    return np.concatenate([[np.nanmedian(minima_R[1:])], minima_R[1:]])


def fit(table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9) -> Result | NotFitted:
    """Fits approach 2 by interpolants.

    Args:
      table: the runs.
      draws: of its rows, by :func:`analysis.laws.optima.seed_noise.draw` or of the general bootstrap; the noise scheme is used.
      level: coverage of the intervals.
    """
    found, interpolated = slices(table)
    flags = [INTERPOLATED_FLAG] if interpolated else []
    kept, budgets, left_out = [], [], collections.defaultdict(list)
    for part in found:
        judged = _judged(part, table, draws)
        if judged.reason:
            left_out[judged.reason].append(part.log_flops)
            continue
        kept.append(part)
        budgets.append(judged)
    flags += [left_out_flag(why, computes) for why, computes in left_out.items()]
    if len(kept) < 2:
        reason = f"{len(found)} compute budgets hold at least {MINIMUM_SIZES} sizes, {len(kept)} of them show a minimum inside"
        return NotFitted(NAME, EQUATION, SOURCE, "; ".join([reason, *flags]))
    if len(kept) < 4:
        flags.append(f"only {len(kept)} budgets show a minimum inside")
    if not len(draws):
        flags.append("without seed noise every budget weighs as its sizes are spaced, and noise moves the minima")
    points = frontier.Points(
        np.array([part.log_flops for part in kept]),
        np.stack([_centred_on_median(item.by_params.position) for item in budgets], axis=1),
        np.stack([_centred_on_median(item.by_tokens.position) for item in budgets], axis=1),
        np.stack([_centred_on_median(item.by_params.log_loss) for item in budgets], axis=1),
        np.array([item.deviation**-2 for item in budgets]),
    )
    return frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level, method=draws.method_of_readings,
        flags=tuple(flags), run_ids=run_ids_of(kept, table), extra={},
        details={"slices": kept, "points": points, "interpolated": interpolated,
                 "deviation_of_log_params": np.array([item.deviation for item in budgets])},
    )  # fmt: skip
