"""Means and variances over real tokens, merged from parts, and what is standardised by them."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Variance = Literal["population", "unbiased"]


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations: what parts of a batch (or batches of a run) merge without loss.

    Attributes:
      count: scalar.
      mean: scalar.
      deviations: scalar, sum of (x - mean)^2.
    """

    count: jax.Array
    mean: jax.Array
    deviations: jax.Array

    @classmethod
    def over(cls, values: jax.Array, mask: jax.Array | None = None) -> "Moments":
        """Of the values whose mask is not 0; without a mask, of all."""
        counted = jnp.ones(values.shape, bool) if mask is None else mask.astype(bool)
        count = jnp.sum(counted, dtype=values.dtype)
        mean = jnp.sum(jnp.where(counted, values, 0)) / jnp.maximum(count, 1)
        return cls(count, mean, jnp.sum(jnp.where(counted, jnp.square(values - mean), 0)))

    def merged(self, other: "Moments") -> "Moments":
        """Of both parts together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        share = other.count / jnp.maximum(count, 1)
        gap = other.mean - self.mean
        deviations = self.deviations + other.deviations + jnp.square(gap) * self.count * share
        return Moments(count, self.mean + gap * share, deviations)

    def variance(self, kind: Variance = "population") -> jax.Array:
        """Divided by the count ("population"), or by one less ("unbiased"); 0 where that is not positive."""
        divisor = self.count - {"population": 0, "unbiased": 1}[kind]
        return self.deviations / jnp.maximum(divisor, 1)


def whiten(
    values: jax.Array,
    mask: jax.Array | None = None,
    variance: Variance = "population",
    shift_mean: bool = True,
    epsilon: float = 1e-8,
    moments: Moments | None = None,
) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon), plus the mean where `shift_mean` is off; 0 where the mask is 0.

    Args:
      values: of any shape.
      mask: not 0 where a value is real.
      variance: "population" (Stiennon et al. 2020, lm-human-preferences) or "unbiased" (TRL).
      shift_mean: False leaves the mean where it was, as rewards want it.
      epsilon: added to the variance.
      moments: of the whole batch, where `values` is a part of it.
    """
    moments = Moments.over(values, mask) if moments is None else moments
    whitened = (values - moments.mean) * jax.lax.rsqrt(moments.variance(variance) + epsilon)
    whitened = whitened if shift_mean else whitened + moments.mean
    return whitened if mask is None else jnp.where(mask.astype(bool), whitened, 0)


def scale(
    values: jax.Array,
    mask: jax.Array | None = None,
    variance: Variance = "population",
    epsilon: float = 1e-8,
    moments: Moments | None = None,
) -> jax.Array:
    """x / sqrt(variance + epsilon): the division alone, so that 0 stays 0 and the mean is divided too; 0 where the mask is 0.

    Arguments are those of :func:`whiten`; `moments` may be those of all batches so far (Engstrom et al. 2020, reward scaling).
    """
    moments = Moments.over(values, mask) if moments is None else moments
    scaled = values * jax.lax.rsqrt(moments.variance(variance) + epsilon)
    return scaled if mask is None else jnp.where(mask.astype(bool), scaled, 0)
