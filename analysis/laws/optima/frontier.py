"""The compute-optimal frontier as power laws of compute: what approaches 1 and 2 end with.

N_opt = k_N·C^a and D_opt = k_D·C^b by least squares of logarithms, and L_opt = E + A·C^(−gamma) (without E where the
budgets are too few) by the engine. Hoffmann et al. 2022 (arXiv:2203.15556), sections 3.1 and 3.2.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import engine, solve
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting.objectives import huber
from analysis.laws.forms.form import LogSum
from analysis.laws.forms.frontier import WITH_FLOOR, WITHOUT_FLOOR
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Certificate, Estimate, Result, estimate

FloatArray = npt.NDArray[np.float64]

_FLOOR_FROM = 5
_LINES = 4


@dataclasses.dataclass(frozen=True)
class Points:
    """Optima by budget: logarithms of C [B] and, for the table and every replicate, of N, D, L at the optimum.

    The first row of `log_params`, `log_tokens`, `log_loss` [1 + R, B] is the table itself; NaN marks what it or a replicate
    does not know there.
    """

    log_flops: FloatArray
    log_params: FloatArray
    log_tokens: FloatArray
    log_loss: FloatArray
    weights: FloatArray


@dataclasses.dataclass(frozen=True)
class Lines:
    """ln N = intercept_n + slope_n·ln C and ln D likewise, for the table (first) and every replicate, each float64[1 + R]."""

    intercept_n: FloatArray
    slope_n: FloatArray
    intercept_d: FloatArray
    slope_d: FloatArray


def lines_through(points: Points) -> Lines:
    """Power laws of C by least squares in ln N and in ln D: for optima that were found at given computes."""
    by_size = line(points.log_flops, points.log_params, points.weights)
    return Lines(*by_size, *line(points.log_flops, points.log_tokens, points.weights))


def result_of(
    points: Points,
    *,
    lines: Lines | None = None,
    name: str,
    equation: str,
    source: str,
    level: float,
    method: str,
    flags: tuple[str, ...],
    run_ids: tuple[str, ...],
    details: dict[str, Any],
    extra: dict[str, Estimate],
) -> Result:
    """Fits the three frontiers to points and dresses them as a Result. Its predictor takes C.

    `lines` are those of N and D where they are not :func:`lines_through` the points.
    """
    lines = lines or lines_through(points)
    form = WITH_FLOOR if np.isfinite(points.log_loss[0]).sum() >= _FLOOR_FROM else WITHOUT_FLOOR
    loss = _loss_frontier(form, points)
    power_laws = np.stack([lines.intercept_n, lines.slope_n, lines.intercept_d, lines.slope_d], axis=1)
    theta = np.concatenate([power_laws, loss.theta], axis=1)

    def number(values: FloatArray) -> Estimate:
        return estimate(values[0], values[1:], level, method)

    parameters = {"k_N": np.exp(theta[:, 0]), "a": theta[:, 1], "k_D": np.exp(theta[:, 2]), "b": theta[:, 3]}
    parameters |= {"A": np.exp(theta[:, _LINES]), "gamma": theta[:, _LINES + len(form.coefficients)]}
    if form is WITH_FLOOR:
        parameters["E"] = np.exp(theta[:, _LINES + 1])
    certificate = dataclasses.replace(loss.certificate, about="the loss frontier")
    if certificate.active_bounds:
        flags = (*flags, f"the frontier's {', '.join(certificate.active_bounds)} ran to a bound")
    if loss.failed:
        flags = (
            *flags,
            f"the loss frontier found no optimum in {loss.failed} of {len(theta) - 1} replicates: rejected",
        )
    predict_loss = fitting.predictor_of(form)
    return Result(
        name=name, form=equation, source=source, parameters={key: number(values) for key, values in parameters.items()},
        derived=extra, objective=loss.objective, objective_name="sum of Huber(1e-3) of log residuals of the loss frontier",
        certificate=certificate, flags=flags, run_ids=run_ids, theta=theta[0], replicates=theta[1:],
        predictor=lambda theta_RxP, logs: predict_loss(theta_RxP[:, _LINES:], logs), level=level, details=details,
    )  # fmt: skip


def optimum_at(result: Result, log_flops_Q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """ln N_opt and ln D_opt of a frontier law, each [1 + R, Q], the point estimate first."""
    theta = np.concatenate([result.theta[None], result.replicates])
    return tuple(theta[:, i, None] + theta[:, i + 1, None] * log_flops_Q for i in (0, 2))  # type: ignore[return-value]


def line(x_B: FloatArray, y_RxB: FloatArray, weight_B: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares of every row over its finite entries: intercepts [R] and slopes [R]."""
    weight_RxB = np.where(np.isfinite(y_RxB), weight_B, 0.0)
    y_RxB = np.nan_to_num(y_RxB)
    total = weight_RxB.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = (weight_RxB @ x_B) / total, (weight_RxB * y_RxB).sum(axis=1) / total
        dx = x_B - mean_x[:, None]
        slope = (weight_RxB * dx * (y_RxB - mean_y[:, None])).sum(axis=1) / (weight_RxB * dx * dx).sum(axis=1)
        usable = (weight_RxB > 0).sum(axis=1) >= 2
    return np.where(usable, mean_y - slope * mean_x, np.nan), np.where(usable, slope, np.nan)


@dataclasses.dataclass(frozen=True)
class _LossFrontier:
    """Parameters of the table and of every replicate [1 + R, P], NaN where a replicate found no optimum; `failed` counts those."""

    theta: FloatArray
    certificate: Certificate
    objective: float
    failed: int


def _loss_frontier(form: LogSum, points: Points) -> _LossFrontier:
    # Budgets that no row knows are left out.
    seen = np.isfinite(points.log_loss).any(axis=0)
    x_BxV, log_loss = points.log_flops[seen, None], points.log_loss[:, seen]
    known = np.isfinite(log_loss)
    centre = x_BxV[known[0]].mean(axis=0)
    x_BxV, weight, y_RxB = x_BxV - centre, known.astype(np.float64), np.where(known, log_loss, 0.0)
    own = known[0]
    optimum = solve.solve(form, x_BxV[own], y_RxB[0, own], weight[0, own], huber())
    theta = np.full((len(y_RxB), len(form.names)), np.nan)
    theta[0] = optimum.theta
    rows = np.flatnonzero(known.sum(axis=1) >= len(form.names))
    rows = rows[rows > 0]
    if len(rows):
        start = np.tile(optimum.theta, (len(rows), 1))
        bounds = form.bounds(y_RxB[0, own])
        found = engine.minimise(form, huber(), x_BxV, y_RxB[rows], weight[rows], start, bounds)
        # What is not an optimum is the optimiser's noise and not the data's.
        theta[rows[found.accepted]] = found.theta[found.accepted]
    failed = int(np.isnan(theta[1:, 0]).sum())
    return _LossFrontier(form.uncentred(theta, centre), optimum.certificate, optimum.objective, failed)


def resampled(reading_BxK: FloatArray, y_K: FloatArray, draws: bootstrap.Draws) -> FloatArray:
    """Readings of the table and of every draw around it, float64[1 + R, B]."""
    own = reading_BxK @ y_K
    if not len(draws):
        return own[None]
    return np.concatenate([own[None], own + draws.noise_RxK @ reading_BxK.T])
