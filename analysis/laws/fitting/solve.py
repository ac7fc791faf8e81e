"""The best of many starts, with a certificate: is it the optimum of the stated objective, and do the data determine it?"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import engine
from analysis.laws.fitting.objectives import Objective
from analysis.laws.fitting.starts import starts as start_points
from analysis.laws.forms.form import Form, evaluate
from analysis.laws.result import Certificate

FloatArray = npt.NDArray[np.float64]

WEAK_CONDITION = 100.0
LOST_CONDITION = 1e5
_SAME_CURVE = 1e-6


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The best of many starts, in centred coordinates, with what the other starts say about it.

    Attributes:
      theta: float64[P].
      objective: its value.
      certificate: of the optimum.
      second_start: another start, for restarts of replicates, float64[P].
    """

    theta: FloatArray
    objective: float
    certificate: Certificate
    second_start: FloatArray


def solve(
    form: Form,
    x_KxV: FloatArray,
    y_K: FloatArray,
    w_K: FloatArray,
    objective: Objective,
    starts_SxP: FloatArray | None = None,
) -> Optimum:
    """Minimises from every start and reports how many optima there are.

    Args:
      form: the law's form.
      x_KxV: centred variables.
      y_K: responses.
      w_K: weights.
      objective: what is minimised.
      starts_SxP: start points; None for the form's own.
    """
    starts_SxP = start_points(form, x_KxV, y_K, w_K) if starts_SxP is None else starts_SxP
    bounds = form.bounds(y_K)
    found = descend(form, objective, x_KxV, y_K[None], w_K[None], starts_SxP, bounds)
    order = np.argsort(found.objective, kind="stable")
    best = order[0]
    optima = _distinct(form, x_KxV, found, order)
    gap = None
    if len(optima) > 1 and found.objective[best] > 0:
        gap = float(found.objective[optima[1]] / found.objective[best] - 1)
    theta = found.theta[best]
    low, high = bounds
    condition = condition_number(form, x_KxV, theta, w_K)
    # 2·n·ln(ratio of sums of Huber losses) is the difference in deviance: below one, the data cannot tell the two apart.
    ridge = gap is not None and 2 * float(w_K.sum()) * np.log1p(gap) < 1
    certificate = Certificate(
        starts=len(starts_SxP),
        starts_at_best=int(np.sum(found.objective <= found.objective[best] * (1 + 1e-7) + 1e-20)),
        distinct_optima=len(optima),
        second_gap=gap,
        gradient_relative=float(found.gradient_relative[best]),
        active_bounds=tuple(name for name, on in zip(form.names, (theta <= low) | (theta >= high), strict=True) if on),
        condition_number=condition,
        identifiability="none" if ridge else identifiability(condition),
        ridge=_ridge(form, found.theta[optima[:2]]) if ridge else "",
    )
    return Optimum(theta, float(found.objective[best]), certificate, starts_SxP[min(1, len(starts_SxP) - 1)])


def descend(
    form: Form,
    objective: Objective,
    x: FloatArray,
    y_RxK: FloatArray,
    w_RxK: FloatArray,
    start_RxP: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
) -> engine.Minimum:
    """Minimises every problem, a kinked objective through smooth ones (:attr:`Objective.approach`)."""
    for knob in objective.approach:
        smoother = dataclasses.replace(objective, knob=knob, approach=())
        start_RxP = engine.minimise(form, smoother, x, y_RxK, w_RxK, start_RxP, bounds).theta
    return engine.minimise(form, objective, x, y_RxK, w_RxK, start_RxP, bounds)


def _distinct(form: Form, x_KxV: FloatArray, found: engine.Minimum, order: npt.NDArray) -> list[int]:
    """Indices of distinct optima, best first: ends that converged and whose curves differ somewhere."""
    chosen = [int(order[0])]
    values = evaluate(form, found.theta, x_KxV)
    for index in order[1:]:
        if not found.accepted[index]:
            continue
        if all(np.max(np.abs(values[index] - values[other])) > _SAME_CURVE for other in chosen):
            chosen.append(int(index))
    return chosen


def _ridge(form: Form, theta_2xP: FloatArray) -> str:
    """The two optima that the data cannot tell apart, by the parameters in which they differ most."""
    apart = np.abs(theta_2xP[0] - theta_2xP[1])
    shown = [index for index in np.argsort(-apart)[:2] if apart[index] > 0]
    return "; ".join(
        f"{form.names[index]} {theta_2xP[0, index]:.3g} or {theta_2xP[1, index]:.3g}" for index in sorted(shown)
    )


def jacobian(form: Form, theta_P: FloatArray, x_KxV: FloatArray) -> FloatArray:
    """Derivatives of the response in theta by central differences, float64[P, K]; for conditions and spreads, not for descent."""
    step_P = 1e-6 * np.maximum(1.0, np.abs(theta_P))
    moved = np.concatenate([theta_P + np.diag(step_P), theta_P - np.diag(step_P)])
    up, down = np.split(evaluate(form, moved, x_KxV), 2)
    return (up - down) / (2 * step_P[:, None])


def condition_number(form: Form, x_KxV: FloatArray, theta_P: FloatArray, w_K: FloatArray) -> float:
    """Condition number of the Jacobian whose columns are scaled to unit length (Belsley, Kuh and Welsch 1980)."""
    scaled = jacobian(form, theta_P, x_KxV) * np.sqrt(w_K)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    if np.any(lengths == 0):
        return float("inf")
    return float(np.linalg.cond(scaled / lengths))


def identifiability(condition: float) -> str:
    """`good`, `weak` or `none`."""
    if condition < WEAK_CONDITION:
        return "good"
    return "weak" if condition < LOST_CONDITION else "none"
