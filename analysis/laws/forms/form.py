"""What a law's form is: an equation, where its parameters may lie, and what a paper prints of it.

A form is a small file with one equation. It is written once, for numbers of either library (`xp` is numpy or jax.numpy):
numpy evaluates it over arrays, JAX differentiates it for :mod:`analysis.laws.fitting.engine`. Variables are logarithms of
columns of the runs table, centred on the table while a fit runs, which keeps coefficients and exponents apart.

Two kinds cover what is published:

- :class:`LogSum`: a power of a sum of terms, each with a free coefficient. Given the exponents, the coefficients are a
  linear least-squares problem, so a grid over the exponents alone finds starts (variable projection, Golub and Pereyra
  1973).
- :class:`Direct`: anything else; starts come from a low-discrepancy sequence over the box of its parameters.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
# One array a parameter, or one a variable; they broadcast against each other.
Arrays = tuple[Any, ...]
Readings = Mapping[str, Callable[[FloatArray], FloatArray]]

# A term below exp(-12) of the loss at the table's centre is not there, and its logarithm would run to minus infinity.
_SMALLEST_TERM = -12.0
_LARGEST_TERM = 12.0


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter that enters nonlinearly.

    Attributes:
      name: as in the equation.
      low, high: where it may lie; a fit that ends on either says so.
      start_low, start_high: where starts are laid.
      logarithmic: whether starts are spaced by ratio; otherwise by difference.
    """

    name: str
    low: float
    high: float
    start_low: float
    start_high: float
    logarithmic: bool = True

    def grid(self, points: int) -> FloatArray:
        """Start values, float64[points]."""
        space = np.geomspace if self.logarithmic else np.linspace
        return space(self.start_low, self.start_high, points)

    def at(self, unit: FloatArray) -> FloatArray:
        """The start value at a position between 0 and 1."""
        if self.logarithmic:
            return self.start_low * (self.start_high / self.start_low) ** unit
        return self.start_low + (self.start_high - self.start_low) * unit


def exponent(name: str) -> Parameter:
    """A power of N, D or C."""
    return Parameter(name, 0.02, 4.0, 0.04, 2.5)


def outer_exponent(name: str) -> Parameter:
    """A power of a whole sum."""
    return Parameter(name, 0.01, 4.0, 0.03, 1.0)


class Form(Protocol):
    """What the engine, the predictors and the reports ask of a form."""

    name: str
    equation: str
    source: str
    variables: tuple[str, ...]
    natural: Readings
    derived: Readings

    @property
    def names(self) -> tuple[str, ...]:
        """Of theta, in its order."""

    def value(self, theta: Arrays, x: Arrays, xp: Any) -> Any:
        """The modelled response, ln L for losses."""

    def bounds(self, y_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest theta, float64[P] each, for responses y_K."""

    def uncentred(self, theta_RxP: FloatArray, centre_V: FloatArray) -> FloatArray:
        """Theta of the same curve over x, given theta over x − centre."""


def evaluate(form: Form, theta_RxP: FloatArray, x_KxV: FloatArray) -> FloatArray:
    """The response of every row of parameters at every point, float64[R, K]."""
    theta = tuple(column[:, None] for column in theta_RxP.T)
    # A variable that was not given is NaN, and so is the response.
    with np.errstate(invalid="ignore"):
        value = form.value(theta, tuple(x_KxV.T[:, None, :]), np)
    return np.broadcast_to(value, (len(theta_RxP), len(x_KxV)))


def log_sum(terms: tuple[Any, ...], xp: Any) -> Any:
    """ln Σ exp(term), safe against overflow."""
    total = terms[0]
    for term in terms[1:]:
        total = xp.logaddexp(total, term)
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class LogSum:
    """ln L = kappa · ln Σ_j exp(c_j + t_j(shape, x)).

    Attributes:
      name: its key in laws.json.
      equation: for readers.
      source: paper and equation.
      variables: columns of the runs table whose logarithms are x.
      coefficients: names of c_j, one a term.
      shape: the nonlinear parameters.
      terms: (shape, x, xp) -> the t_j.
      outer: whether the last of `shape` is kappa; otherwise kappa = 1.
      natural, derived: what a paper prints, from theta [R, P] that is not centred.
      recentre: (theta [R, P], centre [V]) -> theta of the same curve over x; None where every term is linear in x.
    """

    name: str
    equation: str
    source: str
    variables: tuple[str, ...]
    coefficients: tuple[str, ...]
    shape: tuple[Parameter, ...]
    terms: Callable[[Arrays, Arrays, Any], Arrays]
    outer: bool = False
    natural: Readings = dataclasses.field(default_factory=dict)
    derived: Readings = dataclasses.field(default_factory=dict)
    recentre: Callable[[FloatArray, FloatArray], FloatArray] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Coefficients, then the shape."""
        return (*self.coefficients, *(parameter.name for parameter in self.shape))

    def value(self, theta: Arrays, x: Arrays, xp: Any) -> Any:
        """ln L."""
        count = len(self.coefficients)
        shape = theta[count:]
        terms = tuple(c + t for c, t in zip(theta[:count], self.terms(shape, x, xp), strict=True))
        total = log_sum(terms, xp)
        return theta[-1] * total if self.outer else total

    def bounds(self, y_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Coefficients between nothing and far above the losses; the shape where its parameters say."""
        # With kappa free the sum is L^(1/kappa), whose logarithm has a larger range.
        stretch = 1.0 / self.shape[-1].low if self.outer else 1.0
        count = len(self.coefficients)
        low = [stretch * (min(float(y_K.min()), 0.0) + _SMALLEST_TERM)] * count
        high = [stretch * (float(np.abs(y_K).max()) + _LARGEST_TERM)] * count
        return (
            np.array(low + [parameter.low for parameter in self.shape]),
            np.array(high + [parameter.high for parameter in self.shape]),
        )

    def uncentred(self, theta_RxP: FloatArray, centre_V: FloatArray) -> FloatArray:
        """Moves coefficients from ln(X / centre) to ln X."""
        if self.recentre is not None:
            return self.recentre(theta_RxP, centre_V)
        theta_RxP = theta_RxP.copy()
        shape = tuple(theta_RxP[:, len(self.coefficients) :].T)
        for j, term in enumerate(self.terms(shape, tuple(centre_V), np)):
            theta_RxP[:, j] -= term
        return theta_RxP


@dataclasses.dataclass(frozen=True, eq=False)
class Direct:
    """Any equation.

    Attributes:
      name, equation, source, variables, natural, derived: as in :class:`LogSum`.
      parameters: all of theta.
      response: (theta, x, xp) -> the modelled response.
      recentre: as in :class:`LogSum`; None where the form is fitted without centring.
      centred_with: variable -> the variable whose centre it takes, where their ratio matters.
    """

    name: str
    equation: str
    source: str
    variables: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    response: Callable[[Arrays, Arrays, Any], Any]
    natural: Readings = dataclasses.field(default_factory=dict)
    derived: Readings = dataclasses.field(default_factory=dict)
    recentre: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    centred_with: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    def value(self, theta: Arrays, x: Arrays, xp: Any) -> Any:
        """The modelled response."""
        return self.response(theta, x, xp)

    def bounds(self, y_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where the parameters say."""
        del y_K
        low, high = zip(*((parameter.low, parameter.high) for parameter in self.parameters), strict=True)
        return np.array(low), np.array(high)

    def uncentred(self, theta_RxP: FloatArray, centre_V: FloatArray) -> FloatArray:
        """As the form says; a form that cannot be moved is never centred."""
        return theta_RxP if self.recentre is None else self.recentre(theta_RxP, centre_V)


def is_centred(form: Form) -> bool:
    """Whether a fit centres the variables."""
    return isinstance(form, LogSum) or getattr(form, "recentre", None) is not None
