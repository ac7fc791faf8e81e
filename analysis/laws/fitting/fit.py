"""From a form and a table to a Result: centring, solving, resampling, and the flags that all laws share."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER, Objective
from analysis.laws.forms.form import Form, evaluate, is_centred
from analysis.laws.intervals import bootstrap
from analysis.laws.intervals.spread import Spread, spread
from analysis.laws.result import Certificate, Estimate, Predictor, Result, estimate
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

_WIDE = 0.5
_MISFIT = 2.0
_ON_A_BOUND = 0.02


@dataclasses.dataclass(frozen=True)
class FormFit:
    """A fitted form in natural coordinates (logarithms not centred).

    Attributes:
      theta: in the order of the form's names, float64[P].
      replicates: the same of accepted replicates, float64[R, P].
      objective: its value.
      certificate: of the optimum.
      flags: what the fit itself says against its numbers.
      residual_K: observed minus modelled response.
      method: of the intervals.
      spread: what intervals are read from; None where `replicates` are all there is.
    """

    theta: FloatArray
    replicates: FloatArray
    objective: float
    certificate: Certificate
    flags: tuple[str, ...]
    residual_K: FloatArray
    method: str
    spread: Spread | None = None


def variables(form: Form, table: RunsTable) -> FloatArray:
    """Logarithms of the form's variables for every run, float64[K, V]."""
    return np.stack([table.log(name) for name in form.variables], axis=1)


def jacobian(form: Form, theta_P: FloatArray, table: RunsTable) -> FloatArray:
    """Derivatives of the modelled response of every run in parameters that are not centred, float64[P, K]."""
    return solve.jacobian(form, theta_P, variables(form, table))


def centre_of(form: Form, x_KxV: FloatArray) -> FloatArray:
    """What a fit subtracts from the variables, float64[V]: their means, of one column where two must keep their distance."""
    if not is_centred(form):
        return np.zeros(x_KxV.shape[1])
    centre_V = x_KxV.mean(axis=0)
    for name, other in getattr(form, "centred_with", {}).items():
        centre_V[form.variables.index(name)] = centre_V[form.variables.index(other)]
    return centre_V


def fit_form(
    form: Form,
    x_KxV: FloatArray,
    y_K: FloatArray,
    draws: bootstrap.Draws,
    objective: Objective = HUBER,
    w_K: FloatArray | None = None,
) -> FormFit:
    """Fits a form to responses with certificate and replicates.

    Args:
      form: the law's form.
      x_KxV: logarithms of its variables.
      y_K: responses, ln L for laws of the loss.
      draws: of these K runs; empty for no intervals.
      objective: what is minimised.
      w_K: weights of the runs; None for equal ones.
    """
    w_K = np.ones(len(y_K)) if w_K is None else w_K
    centre_V = centre_of(form, x_KxV)
    centred = x_KxV - centre_V
    optimum = solve.solve(form, centred, y_K, w_K, objective)
    found = spread(form, centred, centre_V, y_K, w_K, optimum, draws, objective)
    refits = found.refits
    residual_K = y_K - evaluate(form, optimum.theta[None], centred)[0]
    unbounded = _unbounded(form, refits.theta, form.bounds(y_K))
    certificate = optimum.certificate
    if unbounded:
        certificate = dataclasses.replace(certificate, identifiability="none")
    flags = (*_flags(optimum.certificate, refits, len(draws), len(y_K), len(form.names)), *unbounded)
    return FormFit(
        found.theta,
        found.replicates,
        optimum.objective,
        certificate,
        (*flags, *_misfit(residual_K, draws)),
        residual_K,
        found.method,
        found,
    )


def fit(
    form: Form,
    table: RunsTable,
    draws: bootstrap.Draws = bootstrap.NO_DRAWS,
    level: float = 0.9,
    objective: Objective = HUBER,
    flags: tuple[str, ...] = (),
) -> Result:
    """Fits a law of the loss to a runs table.

    Args:
      form: the law's form; its variables are columns of the table.
      table: the runs.
      draws: bootstrap draws of the table's rows; empty for no intervals.
      level: coverage of the intervals.
      objective: what is minimised.
      flags: what the caller knows about these runs, put before the fit's own.
    """
    fitted = fit_form(form, variables(form, table), table.log("loss"), draws, objective)
    return result_of(fitted, form, run_ids=tuple(table.frame["run_id"]), level=level, flags=flags, objective=objective)


def predictor_of(form: Form) -> Predictor:
    """The curve of a form, for :class:`Result`."""

    def predict(theta_RxP: FloatArray, logs: dict[str, FloatArray]) -> FloatArray:
        return evaluate(form, theta_RxP, np.stack([logs[name] for name in form.variables], axis=1))

    return predict


def result_of(
    fitted: FormFit,
    form: Form,
    *,
    run_ids: tuple[str, ...],
    level: float,
    flags: tuple[str, ...] = (),
    objective: Objective = HUBER,
) -> Result:
    """Dresses a fit as a Result, with the numbers that a paper prints."""
    parameters = _estimates(form.natural, fitted, level)
    wide = tuple(
        f"{key} is known only within [{item.interval[0]:.3g}, {item.interval[1]:.3g}]"
        for key, item in parameters.items()
        if key.startswith(("alpha", "beta", "gamma", "kappa", "R*")) and item.interval and _half_width(item) > _WIDE
    )
    certificate = fitted.certificate
    if wide and certificate.identifiability == "good":
        certificate = dataclasses.replace(certificate, identifiability="weak")
    return Result(
        name=form.name, form=form.equation, source=form.source, parameters=parameters, derived=_estimates(form.derived, fitted, level),
        objective=fitted.objective, objective_name=objective.name, certificate=certificate, flags=(*flags, *fitted.flags, *wide),
        run_ids=run_ids, theta=fitted.theta, replicates=fitted.replicates, predictor=predictor_of(form), level=level,
        details={"residual": fitted.residual_K, "form": form},
    )  # fmt: skip


def _estimates(readings: dict[str, Callable], fitted: FormFit, level: float) -> dict[str, Estimate]:
    if fitted.spread is not None:
        return {name: fitted.spread.estimate(name, reading, level) for name, reading in readings.items()}
    return {
        name: estimate(reading(fitted.theta[None])[0], reading(fitted.replicates), level, fitted.method)
        for name, reading in readings.items()
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


def _unbounded(form: Form, replicates_RxP: FloatArray, bounds: tuple[FloatArray, FloatArray]) -> tuple[str, ...]:
    """Says which parameters run to a bound in more replicates than an interval leaves out: it has no end there."""
    if not len(replicates_RxP):
        return ()
    found = []
    for name, column, low, high in zip(form.names, replicates_RxP.T, *bounds, strict=True):
        for side, share in (("below", np.mean(column <= low)), ("above", np.mean(column >= high))):
            if share > _ON_A_BOUND:
                found.append(
                    f"not identified: {name} is unbounded {side} ({100 * share:.0f}% of replicates ran to its bound)"
                )
    return tuple(found)


def _flags(
    certificate: Certificate, refits: bootstrap.Refits, draws: int, runs: int, parameters: int
) -> tuple[str, ...]:
    flags = list(certificate.objections)
    if runs < 3 * parameters:
        flags.append(f"{runs} points for {parameters} parameters")
    if refits.rejected:
        flags.append(f"{refits.rejected} of {draws} bootstrap replicates did not reach an optimum and were rejected")
    return tuple(flags)
