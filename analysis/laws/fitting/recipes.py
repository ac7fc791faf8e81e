"""Fits as they were published: a quasi-Newton method, its tolerance and its grid of starts, judged by our certificate.

Hoffmann et al. 2022 (arXiv:2203.15556) minimised the *mean* of the Huber losses by L-BFGS with its default tolerance. With
delta = 1e-3 that mean is about 4e-6, so the tolerance on the objective's change is met at once and the optimiser reports
success far from the optimum (Besiroglu et al. 2024, arXiv:2404.10102). A user who asks for that objective and tolerance gets
what it gives, with the certificate that says what it is worth.
"""

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt
from scipy import optimize

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER, HUBER_DELTA
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.intervals import likelihood
from analysis.laws.result import Certificate, Result
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

# scipy's default of L-BFGS-B: a relative change of max(|f|, 1), so an absolute one for objectives below one.
DEFAULT_TOLERANCE = 2.220446049250313e-09
_GRADIENT = 1e-5
_EVERY = 1e-7


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the optimiser is run.

    Attributes:
      reduction: `mean` or `sum` of the Huber losses.
      tolerance: on the change of the objective (`ftol` of L-BFGS-B).
      delta: the Huber threshold.
      every: takes each so many-th of Hoffmann et al.'s 4,500 starts.
    """

    reduction: str = "mean"
    tolerance: float = DEFAULT_TOLERANCE
    delta: float = HUBER_DELTA
    every: int = 1

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.reduction} of Huber({self.delta:g}) of log residuals, L-BFGS-B with ftol {self.tolerance:.3g}"


def hoffmann_starts() -> FloatArray:
    """The published grid, in the order of the form's theta (log A, log B, log E, alpha, beta), float64[4500, 5]."""
    exponents, floors, coefficients = np.arange(0, 2.5, 0.5), np.arange(-1, 1.5, 0.5), np.arange(0, 30, 5.0)
    return np.array(list(itertools.product(coefficients, coefficients, floors, exponents, exponents)))


def fit(table: RunsTable, recipe: Recipe, level: float = 0.9) -> Result:
    """Chinchilla's parametric law by a published recipe.

    The certificate compares where the recipe stopped with the optimum of the same objective, found by the engine. Logarithms
    are not centred, as in the recipe.

    Args:
      table: the runs.
      recipe: how the optimiser is run.
      level: for the Result; a recipe gives no intervals.
    """
    x_KxV, y_K = fitting.variables(FORM, table), table.log("loss")
    scale = 1 / len(y_K) if recipe.reduction == "mean" else 1.0
    ends = [_descend(start, x_KxV, y_K, recipe, scale) for start in hoffmann_starts()[:: recipe.every]]
    values = np.array([end.fun for end in ends])
    best = int(np.argmin(values))
    theta = ends[best].x
    truth = fitting.fit_form(
        FORM, x_KxV, y_K, fitting.bootstrap.NO_DRAWS, dataclasses.replace(HUBER, knob=recipe.delta, scale=recipe.delta)
    )
    objective = float(values[best] / scale)
    certificate = dataclasses.replace(
        truth.certificate,
        starts=len(ends),
        starts_at_best=int(np.sum(values <= values[best] * (1 + _EVERY))),
        distinct_optima=1,
        second_gap=None,
        gradient_relative=_relative_gradient(theta, x_KxV, y_K, recipe.delta),
        active_bounds=(),
    )
    fitted = fitting.FormFit(
        theta, np.zeros((0, len(theta))), float(values[best]), certificate,
        (*certificate.objections, *_shortfall(objective, truth.objective, ends, certificate)),
        y_K - fitting.evaluate(FORM, theta[None], x_KxV)[0], "no bootstrap",
    )  # fmt: skip
    named = dataclasses.replace(HUBER, name=recipe.name)
    return fitting.result_of(fitted, FORM, run_ids=tuple(table.frame["run_id"]), level=level, objective=named)


def _descend(
    start: FloatArray, x_KxV: FloatArray, y_K: FloatArray, recipe: Recipe, scale: float
) -> optimize.OptimizeResult:
    def objective(theta: FloatArray) -> tuple[float, FloatArray]:
        log_a, log_b, log_e, alpha, beta = theta
        terms = np.stack([log_a - alpha * x_KxV[:, 0], log_b - beta * x_KxV[:, 1], np.full(len(y_K), log_e)])
        value = np.logaddexp.reduce(terms)
        share = np.exp(terms - value)
        clipped = np.clip(value - y_K, -recipe.delta, recipe.delta)
        slopes = np.stack([share[0], share[1], share[2], -share[0] * x_KxV[:, 0], -share[1] * x_KxV[:, 1]])
        return scale * float(likelihood.huber_sum((value - y_K)[None], np.ones((1, 1)), recipe.delta)[0]), scale * (
            slopes @ clipped
        )

    options = {"ftol": recipe.tolerance, "gtol": _GRADIENT}
    return optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)


def _relative_gradient(theta: FloatArray, x_KxV: FloatArray, y_K: FloatArray, delta: float) -> float:
    """As the engine reports it, so that one threshold judges both; in centred logarithms, where parameters do not mix."""
    centre_V = x_KxV.mean(axis=0)
    centred = x_KxV - centre_V
    theta = FORM.uncentred(theta[None], -centre_V)[0]
    jacobian = solve.jacobian(FORM, theta, centred)
    slope_K = np.clip((fitting.evaluate(FORM, theta[None], centred)[0] - y_K) / delta, -1, 1)
    return float(np.max(np.abs(jacobian @ slope_K) / np.abs(jacobian).sum(axis=1)))


def _shortfall(
    objective: float, optimum: float, ends: list[optimize.OptimizeResult], certificate: Certificate
) -> tuple[str, ...]:
    """What the optimiser said against what is true."""
    if certificate.trusted:
        return ()
    said = sum(bool(end.success) for end in ends)
    return (
        f"stopped early: {said} of {len(ends)} starts reported success, and the best of them is {100 * (objective / optimum - 1):.3g}% above "
        "the optimum of the same objective; use a sum, or a tolerance relative to delta",
    )
