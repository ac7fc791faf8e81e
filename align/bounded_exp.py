"""An exponential that cannot overflow, nor can its square: for ratios of probabilities, whose logarithms may be off by thousands."""

import math

import jax
import jax.numpy as jnp


def bounded_exp(exponent: jax.Array) -> jax.Array:
    """exp(min(x, limit)), limit = 0.45 ln(largest number of the type): 39.9 in float32 and 319.4 in float64.

    Ratios beyond the limit (1e17 in float32) carry no information, but as infinities they would turn gradients of branches that are
    not even taken into NaN. The gradient beyond the limit is 0.
    """
    limit = 0.45 * math.log(float(jnp.finfo(exponent.dtype).max))
    return jnp.exp(jnp.minimum(exponent, limit))
