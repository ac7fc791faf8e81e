"""One optimiser for every parametric law: batched, damped Newton on the sum of Huber losses of log residuals.

A law's form says how ln L depends on its parameters (:class:`Form`); the engine minimises

    sum_k w_k · Huber_delta( f(theta, x_k) − ln L_k )          (Hoffmann et al. 2022, arXiv:2203.15556, eq. 3)

for many replicates at once (R bootstrap replicates, or R starts). The objective is a *sum* and the stopping rule is
relative to delta: with a mean, or with a tolerance on the objective itself, delta = 1e-3 makes an unfinished fit look
converged (Besiroglu et al. 2024, arXiv:2404.10102). All arithmetic is float64, which is checked.
"""

import dataclasses
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.laws.result import Certificate

FloatArray = npt.NDArray[np.float64]

HUBER_DELTA = 1e-3
GRADIENT_TOLERANCE = 1e-11
# A replicate or a start counts as an optimum when its gradient is below this; looser than the stop, which rounding may
# miss.
ACCEPTED_GRADIENT = 1e-7
WEAK_CONDITION = 100.0
LOST_CONDITION = 1e5
_CHUNK_ELEMENTS = 60_000


class Form(Protocol):
    """How the logarithm of the loss depends on parameters and variables. Variables are centred logarithms, float64[K, V]."""

    names: tuple[str, ...]

    def value(self, theta_RxP: FloatArray, x_KxV: FloatArray) -> FloatArray:
        """ln L, float64[R, K]."""

    def value_and_jacobian(self, theta_RxP: FloatArray, x_KxV: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ln L, float64[R, K], and its derivatives, float64[R, P, K]."""

    def curvature(self, theta_RxP: FloatArray, x_KxV: FloatArray, g_RxK: FloatArray) -> FloatArray:
        """sum_k g_k · (second derivatives of ln L at k), float64[R, P, P]."""

    def bounds(self, y_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest admitted parameters, float64[P] each."""

    def starts(self, x_KxV: FloatArray, y_K: FloatArray, w_K: FloatArray) -> FloatArray:
        """Start points, float64[S, P]."""


@dataclasses.dataclass(frozen=True)
class Minimum:
    """Where each replicate ended: parameters [R, P], objective [R] and relative gradient [R]."""

    theta: FloatArray
    objective: FloatArray
    gradient_relative: FloatArray

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Which replicates are at an optimum, bool[R]."""
        return self.gradient_relative < ACCEPTED_GRADIENT


def huber_sum(residual_RxK: FloatArray, w_RxK: FloatArray, delta: float) -> FloatArray:
    """sum_k w_k Huber_delta(r_k), with Huber = r²/2 inside delta and delta·(|r| − delta/2) outside, float64[R]."""
    clipped = np.clip(residual_RxK, -delta, delta)
    return np.sum(w_RxK * clipped * (residual_RxK - 0.5 * clipped), axis=1)


def deviance(objective: float, count: int, delta: float = HUBER_DELTA) -> float:
    """−2 ln(likelihood) of `count` residuals whose Huber losses sum to `objective`, at the scale that fits them best.

    The likelihood is the one that the fit maximises: residuals of density exp(−Huber_delta(r)/s)/Z(s). Where they are far
    below delta it is the normal one (n·ln of the mean square, up to a constant), where they are far above it Laplace's (2n·ln of
    the mean absolute residual); a sum of Huber losses in the place of a sum of squares would halve the evidence there.
    """
    mean = max(objective, 1e-300) / count
    # d ln Z / d ln s runs from 1/2 (normal) to 1 (Laplace), so the best s lies between these.
    scale_Q = np.geomspace(mean, 2 * mean, 257)
    inside = np.sqrt(2 * np.pi * scale_Q) * special.erf(delta / np.sqrt(2 * scale_Q))
    outside = 2 * scale_Q / delta * np.exp(-(delta**2) / (2 * scale_Q))
    return float(2 * count * np.min(np.log(inside + outside) + mean / scale_Q))


def minimise(
    form: Form,
    x_KxV: FloatArray,
    y_RxK: FloatArray,
    w_RxK: FloatArray,
    start_RxP: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    delta: float = HUBER_DELTA,
    max_iterations: int = 300,
) -> Minimum:
    """Minimises every replicate from its start.

    Args:
      form: the law's form.
      x_KxV: centred logarithms of the variables.
      y_RxK: logarithms of the losses; R may be 1 and broadcasts.
      w_RxK: weights (multiplicities of a bootstrap); R may be 1 and broadcasts.
      start_RxP: start points.
      bounds: lowest and highest parameters.
      delta: the Huber threshold, in nats per nat (a relative error of the loss).
      max_iterations: trial steps at most.

    Raises:
      TypeError: an argument is not float64.
    """
    for name, array in (("x", x_KxV), ("y", y_RxK), ("w", w_RxK), ("start", start_RxP)):
        if array.dtype != np.float64:
            raise TypeError(f"{name} is {array.dtype}, and laws are fitted in float64")
    count = len(start_RxP)
    y_RxK, w_RxK = (np.broadcast_to(array, (count, array.shape[1])) for array in (y_RxK, w_RxK))
    size = max(1, _CHUNK_ELEMENTS // len(x_KxV))
    parts = [
        _minimise_chunk(form, x_KxV, y_RxK[i : i + size], w_RxK[i : i + size], start_RxP[i : i + size], bounds, delta, max_iterations)
        for i in range(0, count, size)
    ]  # fmt: skip
    return Minimum(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("theta", "objective", "gradient_relative")
        )
    )


@dataclasses.dataclass
class _Local:
    """The objective around one point of every replicate, scaled by 1/delta."""

    theta: FloatArray
    objective: FloatArray
    gradient: FloatArray
    majoriser: FloatArray
    newton: FloatArray
    gradient_relative: FloatArray

    def take(self, index: npt.NDArray) -> "_Local":
        return _Local(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    def put(self, where: npt.NDArray, other: "_Local") -> None:
        for field in dataclasses.fields(self):
            getattr(self, field.name)[where] = getattr(other, field.name)[where]


def _evaluate(form, x_KxV, y_RxK, w_RxK, theta_RxP, bounds, delta) -> _Local:  # noqa: ANN001 - as minimise
    value_RxK, jacobian_RxPxK = form.value_and_jacobian(theta_RxP, x_KxV)
    residual_RxK = value_RxK - y_RxK
    size_RxK = np.abs(residual_RxK)
    g_RxK = w_RxK * np.clip(residual_RxK / delta, -1.0, 1.0)
    gradient = np.matmul(jacobian_RxPxK, g_RxK[:, :, None])[:, :, 0]
    # Huber is majorised by a quadratic of weight min(1, delta/|r|): a safe, positive definite model. Newton's model
    # keeps the quadratic zone only, and adds the curvature of the form.
    majoriser_w = w_RxK / np.maximum(size_RxK, delta)
    newton_w = np.where(size_RxK < delta, w_RxK / delta, 0.0)
    transposed = jacobian_RxPxK.transpose(0, 2, 1)
    majoriser = np.matmul(jacobian_RxPxK * majoriser_w[:, None, :], transposed)
    newton = np.matmul(jacobian_RxPxK * newton_w[:, None, :], transposed) + form.curvature(theta_RxP, x_KxV, g_RxK)
    scale = np.sum(w_RxK[:, None, :] * np.abs(jacobian_RxPxK), axis=2) + 1e-300
    low, high = bounds
    held = ((theta_RxP <= low) & (gradient > 0)) | ((theta_RxP >= high) & (gradient < 0))
    gradient = np.where(held, 0.0, gradient)
    for matrix in (majoriser, newton):
        matrix[np.broadcast_to(held[:, :, None] | held[:, None, :], matrix.shape)] = 0.0
    diagonal = np.einsum("rpp->rp", majoriser)
    diagonal[...] = np.where(held, 1.0, diagonal)
    objective = huber_sum(residual_RxK, w_RxK, delta) / delta
    return _Local(theta_RxP, objective, gradient, majoriser, newton, np.max(np.abs(gradient) / scale, axis=1))


def _minimise_chunk(form, x_KxV, y_RxK, w_RxK, start_RxP, bounds, delta, max_iterations) -> Minimum:  # noqa: ANN001
    count = len(start_RxP)
    theta, objective, relative = np.empty_like(start_RxP), np.empty(count), np.empty(count)
    live = np.arange(count)
    here = _evaluate(form, x_KxV, y_RxK, w_RxK, np.clip(start_RxP, *bounds), bounds, delta)
    damping, rejected = np.full(count, 1.0), np.zeros(count, np.int64)
    for _ in range(max_iterations):
        finished = (here.gradient_relative < GRADIENT_TOLERANCE) | (rejected >= 12)
        if finished.any():
            done = live[finished]
            theta[done], objective[done], relative[done] = (
                here.theta[finished], here.objective[finished], here.gradient_relative[finished],
            )  # fmt: skip
            going = np.flatnonzero(~finished)
            live, here, damping, rejected = live[going], here.take(going), damping[going], rejected[going]
            if not len(live):
                break
        trial_theta = np.clip(here.theta + _step(here, damping), *bounds)
        trial = _evaluate(form, x_KxV, y_RxK[live], w_RxK[live], trial_theta, bounds, delta)
        better = trial.objective < here.objective
        # At the level of rounding the objective no longer tells; the gradient does.
        equal = trial.objective <= here.objective * (1 + 1e-13)
        accept = better | (equal & (trial.gradient_relative < here.gradient_relative))
        here.put(accept, trial)
        damping = np.where(accept, np.where(damping < 1e-9, 0.0, damping / 8), np.maximum(damping * 6, 1e-3))
        rejected = np.where(accept, 0, rejected + 1)
    theta[live], objective[live], relative[live] = here.theta, here.objective, here.gradient_relative
    return Minimum(theta, objective * delta, relative)


def _step(here: _Local, damping_R: FloatArray) -> FloatArray:
    """The damped Newton step, measured in the majoriser, so that damping has no units; no parameter moves by more than 2."""
    matrix = here.newton + damping_R[:, None, None] * here.majoriser
    diagonal = np.einsum("rpp->rp", matrix)
    diagonal += 1e-13 * np.einsum("rpp->rp", here.majoriser) + 1e-300
    step = -np.linalg.solve(matrix, here.gradient[:, :, None])[:, :, 0]
    longest = np.max(np.abs(step), axis=1, keepdims=True)
    return step * np.minimum(1.0, 2.0 / np.maximum(longest, 1e-300))


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The best of many starts, in centred coordinates, with what the other starts say about it."""

    theta: FloatArray
    objective: float
    certificate: Certificate
    second_start: FloatArray


def solve(form: Form, x_KxV: FloatArray, y_K: FloatArray, w_K: FloatArray, delta: float = HUBER_DELTA) -> Optimum:
    """Minimises from every start of the form and reports how many optima there are."""
    starts = form.starts(x_KxV, y_K, w_K)
    bounds = form.bounds(y_K)
    found = minimise(form, x_KxV, y_K[None], w_K[None], starts, bounds, delta)
    order = np.argsort(found.objective, kind="stable")
    best = order[0]
    optima = _distinct(form, x_KxV, found, order)
    gap = None
    if len(optima) > 1 and found.objective[best] > 0:
        gap = float(found.objective[optima[1]] / found.objective[best] - 1)
    theta = found.theta[best]
    low, high = bounds
    condition = condition_number(form, x_KxV, theta, w_K)
    certificate = Certificate(
        starts=len(starts),
        starts_at_best=int(np.sum(found.objective <= found.objective[best] * (1 + 1e-7) + 1e-20)),
        distinct_optima=len(optima),
        second_gap=gap,
        gradient_relative=float(found.gradient_relative[best]),
        active_bounds=tuple(name for name, on in zip(form.names, (theta <= low) | (theta >= high), strict=True) if on),
        condition_number=condition,
        identifiability=_identifiability(condition),
    )
    return Optimum(theta, float(found.objective[best]), certificate, starts[min(1, len(starts) - 1)])


def _distinct(form: Form, x_KxV: FloatArray, found: Minimum, order: npt.NDArray) -> list[int]:
    """Indices of distinct optima, best first: ends that converged and whose curves differ somewhere by more than 1e-6."""
    chosen = [int(order[0])]
    values = form.value(found.theta, x_KxV)
    for index in order[1:]:
        if not found.accepted[index]:
            continue
        if all(np.max(np.abs(values[index] - values[other])) > 1e-6 for other in chosen):
            chosen.append(int(index))
    return chosen


def condition_number(form: Form, x_KxV: FloatArray, theta_P: FloatArray, w_K: FloatArray) -> float:
    """Condition number of the Jacobian whose columns are scaled to unit length (Belsley, Kuh and Welsch 1980)."""
    jacobian = form.value_and_jacobian(theta_P[None], x_KxV)[1][0] * np.sqrt(w_K)
    lengths = np.linalg.norm(jacobian, axis=1, keepdims=True)
    if np.any(lengths == 0):
        return float("inf")
    return float(np.linalg.cond(jacobian / lengths))


def _identifiability(condition: float) -> str:
    if condition < WEAK_CONDITION:
        return "good"
    return "weak" if condition < LOST_CONDITION else "none"
