"""From a form and a table to a Result: centring, solving, bootstrapping, and the flags that all parametric laws share."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import engine
from analysis.laws.forms.power_sums import PowerSum
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Certificate, Estimate, Predictor, Result, estimate
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

# Columns of x: every form names its variables by these.
LOG_PARAMS, LOG_TOKENS, LOG_FLOPS = 0, 1, 2
_WIDE = 0.5
_MISFIT = 2.0


@dataclasses.dataclass(frozen=True)
class FormFit:
    """A fitted form in natural coordinates (logarithms not centred).

    Attributes:
      theta: coefficients, exponents, kappa, float64[P].
      replicates: the same of accepted replicates, float64[R, P].
      objective: sum of Huber losses.
      certificate: of the optimum.
      flags: what the fit itself says against its numbers.
      residual_K: ln L minus the form's ln L.
      method: of the intervals.
    """

    theta: FloatArray
    replicates: FloatArray
    objective: float
    certificate: Certificate
    flags: tuple[str, ...]
    residual_K: FloatArray
    method: str


def variables(table: RunsTable) -> FloatArray:
    """ln N, ln D and ln C of every run, float64[K, 3]."""
    return np.stack([table.log("params"), table.log("tokens"), table.log("flops")], axis=1)


def fit_form(
    form: PowerSum, x_KxV: FloatArray, y_K: FloatArray, draws: bootstrap.Draws, delta: float = engine.HUBER_DELTA
) -> FormFit:
    """Fits a form to ln L with certificate and replicates.

    Args:
      form: the law's form.
      x_KxV: logarithms of N, D, C.
      y_K: ln L.
      draws: of these K runs; empty for no intervals.
      delta: Huber threshold on log residuals.
    """
    centre_V = x_KxV.mean(axis=0)
    centred = x_KxV - centre_V
    optimum = engine.solve(form, centred, y_K, np.ones(len(y_K)), delta)
    refits = bootstrap.refit(form, centred, y_K, optimum, draws, delta)
    residual_K = y_K - form.value(optimum.theta[None], centred)[0]
    flags = _flags(optimum.certificate, refits, len(draws), len(y_K), len(form.names))
    return FormFit(
        uncentred(form, optimum.theta[None], centre_V)[0],
        uncentred(form, refits.theta, centre_V),
        optimum.objective,
        optimum.certificate,
        (*flags, *_misfit(residual_K, draws)),
        residual_K,
        draws.method if len(draws) else "no bootstrap",
    )


def uncentred(form: PowerSum, theta_RxP: FloatArray, centre_V: FloatArray) -> FloatArray:
    """Moves coefficients from ln(X / centre) to ln X."""
    theta_RxP = theta_RxP.copy()
    columns = {name: index for index, name in enumerate(form.names)}
    for j, term in enumerate(form.terms):
        if term.variable is not None:
            exponent = theta_RxP[:, columns[term.exponent]] if term.exponent else 1.0
            theta_RxP[:, j] += exponent * centre_V[term.variable]
    return theta_RxP


def predictor_of(form: PowerSum) -> Predictor:
    """The curve of a form, for :class:`Result`."""

    def predict(theta_RxP: FloatArray, n_Q: FloatArray, d_Q: FloatArray, c_Q: FloatArray) -> FloatArray:
        return form.value(theta_RxP, np.stack([n_Q, d_Q, c_Q], axis=1))

    return predict


def result_of(
    fit: FormFit,
    form: PowerSum,
    *,
    name: str,
    equation: str,
    source: str,
    natural: dict[str, Callable[[FloatArray], FloatArray]],
    derived: dict[str, Callable[[FloatArray], FloatArray]],
    run_ids: tuple[str, ...],
    level: float,
    flags: tuple[str, ...] = (),
    delta: float = engine.HUBER_DELTA,
) -> Result:
    """Dresses a fit as a Result; `natural` and `derived` map theta [R, P] to the numbers a paper prints [R]."""
    parameters = _estimates(natural, fit, level)
    wide = tuple(
        f"{key} is known only within [{item.interval[0]:.3g}, {item.interval[1]:.3g}]"
        for key, item in parameters.items()
        if key.startswith(("alpha", "beta", "gamma")) and item.interval and _half_width(item) > _WIDE
    )
    certificate = fit.certificate
    if wide and certificate.identifiability == "good":
        certificate = dataclasses.replace(certificate, identifiability="weak")
    return Result(
        name=name, form=equation, source=source, parameters=parameters, derived=_estimates(derived, fit, level),
        objective=fit.objective, objective_name=f"sum of Huber({delta:g}) of log residuals", certificate=certificate,
        flags=(*flags, *fit.flags, *wide), run_ids=run_ids, theta=fit.theta, replicates=fit.replicates,
        predictor=predictor_of(form), level=level, details={"residual": fit.residual_K},
    )  # fmt: skip


def _estimates(functions: dict[str, Callable], fit: FormFit, level: float) -> dict[str, Estimate]:
    return {
        name: estimate(function(fit.theta[None])[0], function(fit.replicates), level, fit.method)
        for name, function in functions.items()
    }


def _half_width(item: Estimate) -> float:
    return (item.interval[1] - item.interval[0]) / 2 / abs(item.value)


def _misfit(residual_K: FloatArray, draws: bootstrap.Draws) -> tuple[str, ...]:
    """Says when a form misses its own runs by more than a run's noise: then its intervals are too narrow as well."""
    if not draws.noise_RxK.any():
        return ()
    missed, noise = float(np.sqrt(np.mean(residual_K**2))), float(np.sqrt(np.mean(draws.noise_RxK**2)))
    if missed <= _MISFIT * noise:
        return ()
    return (
        f"the form does not fit: it misses its own runs by {100 * missed:.2g}%, {missed / noise:.1f} times a run's noise, so its "
        "intervals, which know of noise only, are too narrow",
    )


def _flags(
    certificate: Certificate, refits: bootstrap.Refits, draws: int, runs: int, parameters: int
) -> tuple[str, ...]:
    flags = []
    if certificate.gradient_relative > engine.ACCEPTED_GRADIENT:
        flags.append(
            f"the optimiser stopped before the optimum (relative gradient {certificate.gradient_relative:.1e})"
        )
    if certificate.active_bounds:
        flags.append(f"{', '.join(certificate.active_bounds)} ran to a bound: this table does not determine it")
    if certificate.second_gap is not None and certificate.second_gap < 0.01:
        flags.append(f"a second optimum is only {100 * certificate.second_gap:.2g}% worse")
    if certificate.identifiability != "good":
        flags.append(
            f"weak identifiability: condition number {certificate.condition_number:.3g}; parameters trade off against each "
            "other, so read their intervals and not their values"
        )
    if runs < 3 * parameters:
        flags.append(f"{runs} points for {parameters} parameters")
    if refits.rejected:
        flags.append(f"{refits.rejected} of {draws} bootstrap replicates did not reach an optimum and were rejected")
    return tuple(flags)
