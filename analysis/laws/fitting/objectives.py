"""What a fit minimises: a sum over runs of a loss of the response, with the derivatives that the engine needs.

Every objective is scaled so that the slope of one point is of order one, because a stopping rule that is not relative to
that scale makes unfinished fits look converged: with Hoffmann et al.'s delta = 1e-3 and a *mean*, optimisers stop at once
(Besiroglu et al. 2024, arXiv:2404.10102). Objectives here are sums.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

HUBER_DELTA = 1e-3
# Least absolute deviation is Huber's limit; this far down a residual counts as zero.
_LAD_DELTA = 1e-9


class Point(NamedTuple):
    """Loss of one response, its slope and curvature in the response, and the curvature of a quadratic that majorises it."""

    loss: Any
    slope: Any
    curvature: Any
    majoriser: Any


@dataclasses.dataclass(frozen=True)
class Objective:
    """A named objective.

    Attributes:
      name: as reports print it.
      point: (modelled response, observed response, knob) -> :class:`Point`; compiled once, whatever the knob.
      knob: delta, where there is one.
      scale: the value that reports print is the engine's times this.
      approach: knobs of smoother objectives to descend through first.
    """

    name: str
    point: Callable[[Any, Any, Any], Point]
    knob: float = 1.0
    scale: float = 1.0
    approach: tuple[float, ...] = ()

    @property
    def is_huber(self) -> bool:
        """Whether losses are Huber's of the residual, over delta = knob."""
        return self.point is _huber

    @property
    def is_squares(self) -> bool:
        """Whether losses are squares of residuals, of the logarithm or of the loss itself."""
        return self.point in (_squares, _raw_squares)


def _huber(value: Any, observed: Any, delta: Any) -> Point:
    residual = value - observed
    size = jnp.abs(residual)
    clipped = jnp.clip(residual, -delta, delta)
    inside = size < delta
    return Point(
        clipped * (residual - 0.5 * clipped) / delta,
        clipped / delta,
        jnp.where(inside, 1.0 / delta, 0.0),
        # Huber is majorised by a quadratic of weight min(1, delta/|r|): a safe, positive definite model.
        1.0 / jnp.maximum(size, delta),
    )


def _squares(value: Any, observed: Any, scale: Any) -> Point:
    residual = (value - observed) / scale
    one = jnp.ones_like(residual) / scale
    return Point(0.5 * residual * residual * scale, residual, one, one)


def _raw_squares(value: Any, observed: Any, scale: Any) -> Point:
    model = jnp.exp(value)
    residual = (model - jnp.exp(observed)) / scale
    slope = residual * model
    square = model * model / scale
    return Point(0.5 * residual * residual * scale, slope, square + slope, square)


def _binomial(value: Any, observed: Any, knob: Any) -> Point:
    del knob
    chance = jax.nn.sigmoid(value)
    spread = chance * (1.0 - chance)
    return Point(jax.nn.softplus(value) - observed * value, chance - observed, spread, jnp.maximum(spread, 1e-6))


def huber(delta: float = HUBER_DELTA) -> Objective:
    """Σ Huber_delta(ln L̂ − ln L) (Hoffmann et al. 2022, arXiv:2203.15556, eq. 3)."""
    return Objective(f"sum of Huber({delta:g}) of log residuals", _huber, delta, delta)


HUBER = huber()


def least_absolute() -> Objective:
    """Σ |ln L̂ − ln L|: what a Huber likelihood of free scale tends to on the Epoch table, and what its paper prints."""
    return Objective("sum of absolute log residuals", _huber, _LAD_DELTA, 1.0, (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8))


def least_squares() -> Objective:
    """½ Σ (ln L̂ − ln L)²."""
    return Objective("half the sum of squared log residuals", _squares, 1e-3, 1e-3)


def raw_least_squares() -> Objective:
    """½ Σ (L̂ − L)², in nats squared."""
    return Objective("half the sum of squared residuals in nats", _raw_squares, 1e-3, 1e-3)


def binomial() -> Objective:
    """−Σ trials · [a ln p + (1 − a) ln(1 − p)], with a the accuracy, ln(p/(1−p)) the response and trials as weights."""
    return Objective("binomial deviance over two", _binomial)


BY_NAME = {
    "huber": huber,
    "least_absolute": least_absolute,
    "least_squares": least_squares,
    "raw_least_squares": raw_least_squares,
}
