"""The compute-optimal frontier as power laws of compute: what approaches 1 and 2 end with.

N_opt = k_N·C^a and D_opt = k_D·C^b by least squares of logarithms, and L_opt = E + A·C^(−gamma) (without E where the
budgets are too few) by the engine. Hoffmann et al. 2022 (arXiv:2203.15556), sections 3.1 and 3.2.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws import bootstrap, engine, fitting
from analysis.laws.power_sums import PowerSum, Term
from analysis.laws.result import Estimate, Result, estimate

FloatArray = npt.NDArray[np.float64]

WITH_FLOOR = PowerSum((Term("log A", fitting.LOG_FLOPS, "gamma"), Term("log E")))
WITHOUT_FLOOR = PowerSum((Term("log A", fitting.LOG_FLOPS, "gamma"),))
_FLOOR_FROM = 5
_LINES = 4


@dataclasses.dataclass(frozen=True)
class Points:
    """Optima by budget: logarithms of C [B] and, for the table and every replicate, of N, D, L at the optimum.

    The first row of `log_params`, `log_tokens`, `log_loss` [1 + R, B] is the table itself; NaN marks a budget that a
    replicate could not use.
    """

    log_flops: FloatArray
    log_params: FloatArray
    log_tokens: FloatArray
    log_loss: FloatArray
    weights: FloatArray


def result_of(
    points: Points,
    *,
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
    """Fits the three frontiers to points and dresses them as a Result. Its predictor takes C."""
    intercept_n, slope_n = line(points.log_flops, points.log_params, points.weights)
    intercept_d, slope_d = line(points.log_flops, points.log_tokens, points.weights)
    form = WITH_FLOOR if len(points.log_flops) >= _FLOOR_FROM else WITHOUT_FLOOR
    loss, certificate, objective = _loss_frontier(form, points)
    theta = np.concatenate([np.stack([intercept_n, slope_n, intercept_d, slope_d], axis=1), loss], axis=1)

    def number(values: FloatArray) -> Estimate:
        return estimate(values[0], values[1:], level, method)

    parameters = {"k_N": np.exp(theta[:, 0]), "a": theta[:, 1], "k_D": np.exp(theta[:, 2]), "b": theta[:, 3]}
    parameters |= {"A": np.exp(theta[:, _LINES]), "gamma": theta[:, _LINES + len(form.terms)]}
    if form is WITH_FLOOR:
        parameters["E"] = np.exp(theta[:, _LINES + 1])
    if certificate.active_bounds:
        flags = (*flags, f"the frontier's {', '.join(certificate.active_bounds)} ran to a bound")
    predict_loss = fitting.predictor_of(form)
    return Result(
        name=name, form=equation, source=source, parameters={key: number(values) for key, values in parameters.items()},
        derived=extra, objective=objective, objective_name="sum of Huber(1e-3) of log residuals of the loss frontier",
        certificate=certificate, flags=flags, run_ids=run_ids, theta=theta[0], replicates=theta[1:],
        predictor=lambda theta_RxP, n, d, c: predict_loss(theta_RxP[:, _LINES:], n, d, c), level=level, details=details,
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


def _loss_frontier(form: PowerSum, points: Points) -> tuple[FloatArray, Any, float]:
    x_BxV = np.stack([np.zeros_like(points.log_flops), np.zeros_like(points.log_flops), points.log_flops], axis=1)
    centre = x_BxV.mean(axis=0)
    y_RxB = points.log_loss
    known = np.isfinite(y_RxB)
    optimum = engine.solve(form, x_BxV - centre, y_RxB[0], np.ones(len(points.log_flops)))
    theta = np.full((len(y_RxB), len(form.names)), np.nan)
    theta[0] = optimum.theta
    rows = np.flatnonzero(known.sum(axis=1) >= len(form.names))
    rows = rows[rows > 0]
    if len(rows):
        start = np.tile(optimum.theta, (len(rows), 1))
        values = np.where(known, y_RxB, 0.0)[rows]
        found = engine.minimise(
            form,
            x_BxV - centre,
            values,
            known[rows].astype(np.float64),
            start,
            form.bounds(y_RxB[0]),
            max_iterations=60,
        )
        theta[rows] = found.theta
    return fitting.uncentred(form, theta, centre), optimum.certificate, optimum.objective


def resampled(reading_BxK: FloatArray, y_K: FloatArray, draws: bootstrap.Draws) -> FloatArray:
    """Readings of the table and of every draw around it, float64[1 + R, B]."""
    own = reading_BxK @ y_K
    if not len(draws):
        return own[None]
    return np.concatenate([own[None], own + draws.noise_RxK @ reading_BxK.T])
