"""Chinchilla, approach 1 in its published form: the best size at each of 1,500 computes, and a line through all of them.

Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1: curves of loss over compute are interpolated, the size with the lowest loss
at each of 1,500 log-spaced computes is taken with its tokens, and power laws are fitted by ordinary least squares of logarithms.
It takes training curves (:mod:`analysis.laws.optima.training_curves`) or the finished runs of a table.

The line goes through a staircase, whose flat ends and whose noise in ln C flatten it: on simulated sweeps a comes out 0.03 to 0.08 too
low and 90% intervals cover 0 to 20% (a test holds it against the default, :mod:`analysis.laws.optima.envelope`). This form is here to be
compared with what was published.
"""

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import curves, frontier
from analysis.laws.optima.training_curves import TrainingCurve
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_envelope_lowest_size"
EQUATION = "N_opt = k_N·C^a, D_opt = k_D·C^b through the best size at 1,500 computes; L_opt = E + A/C^gamma"
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1, as published"
FLAG = "a line through a staircase: a comes out too low and its interval does not know it; chinchilla_envelope is without that bias"

COMPUTES = 1500
_FEWEST_SIZES = 3
# The loss is fitted at every 25th compute: neighbours know the same.
_LOSS_EVERY = 25
_SAME_SIZE = 0.02


def fit(table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9) -> Result | NotFitted:
    """Fits approach 1 to finished runs: a curve is one size's runs in order of compute.

    Args:
      table: the runs.
      draws: of its rows; where they resample runs a replicate has the runs that it drew, else noise is added to the losses.
      level: coverage of the intervals.
    """
    lines = curves.size_curves(table)
    y_K = table.log("loss")
    replicates = [_finished(lines, y_K, np.ones(len(table)))]
    for index in range(len(draws)):
        if draws.weights_RxK is not None:
            replicates.append(_finished(lines, y_K, draws.weights_RxK[index]))
        else:
            replicates.append(_finished(lines, y_K + draws.noise_RxK[index], np.ones(len(table))))
    method = draws.method if draws.weights_RxK is not None else draws.method_of_readings
    return _through(replicates, level, method, tuple(table.frame["run_id"]))


def fit_curves(
    runs: list[TrainingCurve], replicates: int, rng: np.random.Generator, level: float = 0.9
) -> Result | NotFitted:
    """Fits approach 1 to training curves, with intervals by drawing whole runs with replacement among those of one size.

    Args:
      runs: one curve a run.
      replicates: R.
      rng: equal generators give equal intervals.
      level: coverage of the intervals.
    """
    size = grouped(np.array([run.log_params for run in runs]), _SAME_SIZE)
    # Where sizes have one run each there is nothing to draw within them.
    stratum = size if np.bincount(size).min() > 1 else np.zeros_like(size)
    weights_RxG = bootstrap.case_weights(np.arange(len(runs)), stratum, replicates, rng)
    drawn = [[run for run, weight in zip(runs, row, strict=True) if weight] for row in weights_RxG]
    method = f"percentile of {replicates} bootstrap replicates over runs" if replicates else "no bootstrap"
    return _through([runs, *drawn], level, method, ())


def _finished(lines: list[curves.SizeCurve], y_K: FloatArray, weight_K: FloatArray) -> list[TrainingCurve]:
    """The sizes' curves through the runs with weight; runs of one point are averaged."""
    found = []
    for line in lines:
        share = line.average * weight_K
        total = share.sum(axis=1)
        kept = total > 0
        if kept.sum() > 1:
            loss = (share[kept] @ y_K) / total[kept]
            found.append(TrainingCurve(line.log_params, line.log_flops[kept], line.log_tokens[kept], loss))
    return found


def _through(
    replicates: list[list[TrainingCurve]], level: float, method: str, run_ids: tuple[str, ...]
) -> Result | NotFitted:
    own = replicates[0]
    sizes = len({round(curve.log_params / _SAME_SIZE) for curve in own})
    if sizes < _FEWEST_SIZES:
        reason = f"{sizes} sizes have a curve, and {_FEWEST_SIZES} are needed"
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    ends = [end for curve in own for end in (curve.log_flops[0], curve.log_flops[-1])]
    grid_Q = np.linspace(min(ends), max(ends), COMPUTES)
    log_params, log_tokens, log_loss = (
        np.stack(rows) for rows in zip(*(_best(drawn, grid_Q) for drawn in replicates), strict=True)
    )
    if len(np.unique(log_params[0][np.isfinite(log_params[0])])) < _FEWEST_SIZES:
        reason = f"fewer than {_FEWEST_SIZES} sizes are ever the best"
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    log_loss[:, np.arange(COMPUTES) % _LOSS_EVERY != 0] = np.nan
    points = frontier.Points(grid_Q, log_params, log_tokens, log_loss, np.ones(COMPUTES))
    return frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level, method=method, flags=(FLAG,),
        run_ids=run_ids, extra={}, details={"points": points, "curves": own},
    )  # fmt: skip


def _best(drawn: list[TrainingCurve], grid_Q: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """ln N, ln D and ln L of the best curve at every compute, NaN where there is none, each float64[Q]."""
    losses = np.stack([curve.loss_at(grid_Q) for curve in drawn])
    best = np.argmin(losses, axis=0)
    known = np.isfinite(losses.min(axis=0))
    columns = np.arange(len(grid_Q))
    tokens = np.stack([curve.tokens_at(grid_Q) for curve in drawn])[best, columns]
    params = np.array([curve.log_params for curve in drawn])[best]
    return tuple(np.where(known, values, np.nan) for values in (params, tokens, losses[best, columns]))  # type: ignore[return-value]
