"""A form with one number held: what profile likelihoods refit.

Which number is held, and at what, travels in columns beside the variables, so that all profiles of a form are one program and one call of
the engine.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.forms.form import Form, LogSum, is_centred

FloatArray = npt.NDArray[np.float64]

# Ratios of exponents between zero and one: reading -> beta that gives it beside alpha.
_RATIOS: dict[str, Callable[[Any, Any], Any]] = {
    "a": lambda alpha, at: alpha * at / (1 - at),
    "b": lambda alpha, at: alpha * (1 - at) / at,
}


@dataclasses.dataclass(frozen=True)
class Hold:
    """A number that can be held by giving up one parameter.

    Attributes:
      name: of the number.
      place: of the parameter that gives way.
      safe: a value at which `parameter` is finite, for the problems that hold another number.
      parameter: (theta, value, centre, xp) -> the parameter, in centred coordinates.
    """

    name: str
    place: int
    safe: float
    parameter: Callable[[tuple, Any, tuple, Any], Any]


@functools.cache
def holds(form: Form) -> tuple[Hold, ...]:
    """What of a form can be held: its parameters as they are without centring, and the ratios of alpha and beta that it derives."""
    found = []
    coefficients = len(form.coefficients) if isinstance(form, LogSum) else 0
    moved = is_centred(form) and getattr(form, "recentre", None) is not None
    if not moved:
        for place, name in enumerate(form.names):
            found.append(Hold(name, place, 0.0, _coefficient(form, place) if place < coefficients else _itself))
    if {"alpha", "beta"} <= set(form.names):
        alpha, beta = form.names.index("alpha"), form.names.index("beta")
        for name in set(_RATIOS) & set(form.derived):
            hold = Hold(name, beta, 0.5, _ratio(_RATIOS[name], alpha))
            trial_P = np.where(np.arange(len(form.names)) == alpha, 0.4, 0.5)
            trial_P[beta] = hold.parameter(tuple(trial_P), 0.3, (), np)
            # A form may mean something else by the same letter.
            if np.isclose(form.derived[name](trial_P[None])[0], 0.3, rtol=1e-12):
                found.append(hold)
    return tuple(found)


def _itself(theta: tuple, at: Any, centre: tuple, xp: Any) -> Any:
    del theta, centre, xp
    return at


def _coefficient(form: LogSum, place: int) -> Callable[[tuple, Any, tuple, Any], Any]:
    """Of a term without centring: at the centre it has grown by the term itself."""

    def parameter(theta: tuple, at: Any, centre: tuple, xp: Any) -> Any:
        return at + form.terms(theta[len(form.coefficients) :], centre, xp)[place]

    return parameter


def _ratio(rule: Callable[[Any, Any], Any], alpha: int) -> Callable[[tuple, Any, tuple, Any], Any]:
    return lambda theta, at, centre, xp: rule(theta[alpha], at)


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """A form whose variables are followed by: which of :func:`holds` is held, at what, and the centre of every variable."""

    form: Form

    @property
    def names(self) -> tuple[str, ...]:
        """The form's; the parameter that gives way stays where it started."""
        return self.form.names

    def value(self, theta: tuple, x: tuple, xp: Any) -> Any:
        """The modelled response."""
        count = len(self.form.variables)
        which, at, centre = x[count], x[count + 1], x[count + 2 :]
        held = list(theta)
        for index, hold in enumerate(holds(self.form)):
            # The branch that is not taken must be finite as well, or its derivative is not.
            value = hold.parameter(theta, xp.where(which == index, at, hold.safe), centre, xp)
            held[hold.place] = xp.where(which == index, value, held[hold.place])
        return self.form.value(tuple(held), x[:count], xp)

    def columns(self, x_KxV: FloatArray, centre_V: FloatArray, which_R: FloatArray, at_R: FloatArray) -> FloatArray:
        """Centred variables of R problems with what each of them holds, float64[R, K, 2V + 2]."""
        shape = (len(which_R), len(x_KxV))
        parts = [np.broadcast_to(x_KxV, (*shape, x_KxV.shape[1]))]
        parts += [np.broadcast_to(column_R[:, None, None], (*shape, 1)) for column_R in (which_R, at_R)]
        return np.concatenate([*parts, np.broadcast_to(centre_V, (*shape, len(centre_V)))], axis=2).astype(np.float64)


@functools.cache
def held(form: Form) -> Held:
    """The same for the same form, so that it compiles once."""
    return Held(form)
