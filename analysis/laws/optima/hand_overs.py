"""The computes at which one model size is overtaken by the next larger one.

Two sizes h = ln(N2/N1)/2 from their mean ln N with equal loss have the optimum (alpha − beta)·h²/6 below it, up to terms of
fourth order in h: the same at every compute when the sizes are in constant ratio, so it leaves the exponent alone, and 0.2% of N
for a ratio of two and alpha − beta = 0.1.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import curves, frontier
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

_READINGS = 61
_FEWEST_DRAWS = 20


@dataclasses.dataclass(frozen=True)
class HandOvers:
    """Where P pairs of neighbouring sizes have equal loss, for the table (first row) and every replicate.

    Attributes:
      log_params: mean ln N of the two sizes, exact, float64[P].
      log_flops: ln C, NaN where a replicate does not see them meet, float64[1 + R, P].
      log_tokens: mean ln D of the two sizes there, float64[1 + R, P].
    """

    log_params: FloatArray
    log_flops: FloatArray
    log_tokens: FloatArray

    @property
    def lost(self) -> FloatArray:
        """Share of the replicates that do not see them meet, float64[P]."""
        replicates = self.log_flops[1:]
        return np.isnan(replicates).mean(axis=0) if len(replicates) else np.zeros(len(self.log_params))


def between_neighbours(lines: list[curves.SizeCurve], table: RunsTable, draws: bootstrap.Draws) -> HandOvers:
    """Reads neighbouring curves against each other over the computes that both were trained to.

    Args:
      lines: of the sizes, ascending.
      table: the runs.
      draws: of its rows.

    Returns:
      The pairs that the table itself sees meet: the smaller size ahead at the first common compute and behind at the last.
    """
    pairs = [_hand_over(*pair, table, draws) for pair in zip(lines[:-1], lines[1:], strict=True)]
    seen = [pair for pair in pairs if pair is not None and np.isfinite(pair[1][0])]
    if not seen:
        return HandOvers(np.zeros(0), np.zeros((1 + len(draws), 0)), np.zeros((1 + len(draws), 0)))
    log_params, log_flops, log_tokens = zip(*seen, strict=True)
    return HandOvers(np.array(log_params), np.stack(log_flops, axis=1), np.stack(log_tokens, axis=1))


def _hand_over(
    smaller: curves.SizeCurve, larger: curves.SizeCurve, table: RunsTable, draws: bootstrap.Draws
) -> tuple[float, FloatArray, FloatArray] | None:
    """Mean ln N of two sizes, and ln C [1 + R] and mean ln D [1 + R] where they meet; None without common computes."""
    low = max(smaller.log_flops[0], larger.log_flops[0])
    high = min(smaller.log_flops[-1], larger.log_flops[-1])
    if high <= low:
        return None
    grid_Q = np.linspace(low, high, _READINGS)
    behind_RxQ = frontier.resampled(smaller.readings(grid_Q) - larger.readings(grid_Q), table.log("loss"), draws)
    meet = (behind_RxQ[:, 0] < 0) & (behind_RxQ[:, -1] > 0)
    log_flops = np.where(meet, low + (high - low) * _share_below_zero(behind_RxQ), np.nan)
    log_tokens = (smaller.tokens_at(log_flops) + larger.tokens_at(log_flops)) / 2
    return (smaller.log_params + larger.log_params) / 2, log_flops, log_tokens


def _share_below_zero(y_RxQ: FloatArray) -> FloatArray:
    """Share of every row's range in which it is below zero, straight between its points, float64[R].

    Of a row with one root that is where the root lies. Of one that noise sends to and fro across zero it is the middle of its
    roots, to which the first or the last alone would be a biased guide.
    """
    left, right = y_RxQ[:, :-1], y_RxQ[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = np.where(left < 0, left / (left - right), right / (right - left))
    return np.where((left < 0) & (right < 0), 1.0, np.where((left >= 0) & (right >= 0), 0.0, falls)).mean(axis=1)


def power_laws(found: HandOvers) -> frontier.Lines:
    """N_opt and D_opt as power laws of C, by regression on the sizes.

    ln C = p + q·ln N and ln D = r + s·ln N are fitted by least squares, for ln N is exact and noise moves ln C and ln D (by the
    same amount); then a = 1/q and b = s/q. Pairs weigh as 1/(v + median v), with v the variance of ln C over the replicates: the
    noise is not the whole error of a reading, so no pair counts for more than twice the typical one.
    """
    weights_P = _weights(found.log_flops)
    p, q = frontier.line(found.log_params, found.log_flops, weights_P)
    r, s = frontier.line(found.log_params, found.log_tokens, weights_P)
    with np.errstate(divide="ignore", invalid="ignore"):
        return frontier.Lines(-p / q, 1 / q, r - s * p / q, s / q)


def _weights(log_flops_RxP: FloatArray) -> FloatArray:
    if len(log_flops_RxP) <= _FEWEST_DRAWS:
        return np.ones(log_flops_RxP.shape[1])
    replicates = np.ma.masked_invalid(log_flops_RxP[1:])
    # A pair that no replicate sees meet has no variance to be known by: it counts for nothing.
    variance = replicates.var(axis=0).filled(np.inf)
    typical = float(np.median(variance))
    return 1 / (variance + typical) if 0 < typical < np.inf else np.ones_like(variance)
