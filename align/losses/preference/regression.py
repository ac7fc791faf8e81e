"""Losses that draw margins or log-ratios to a target, or push them beyond it."""

import jax
import jax.numpy as jnp


def ipo(margins: jax.Array, beta: float) -> jax.Array:
    """(h - 1 / (2 beta))^2, beta being the paper's tau (Azar et al. 2023, eq. 17).

    Args:
      margins: h, of sums over tokens (the paper), or of means over tokens (TRL, on the authors' word).
      beta: tau.
    """
    return jnp.square(margins - 1 / (2 * beta))


def hinge(margins: jax.Array, beta: float) -> jax.Array:
    """max(0, 1 - beta h): SLiC's loss on log-ratios (Liu et al. 2023, RSO; Zhao et al. 2023, SLiC-HF)."""
    return jnp.maximum(0, 1 - beta * margins)


def sppo(chosen: jax.Array, rejected: jax.Array, beta: float, probability: float | jax.Array = 1.0) -> jax.Array:
    """(s_w - (P - 1/2) / beta)^2 + (s_l + (P - 1/2) / beta)^2 (Wu et al. 2024, eq. 4.7 with eta = 1 / beta).

    Args:
      chosen: s_w, log-ratios of the chosen.
      rejected: s_l.
      beta: 1 / eta.
      probability: P, that the chosen beats the rejected; 1 is the "hard" form.
    """
    target = (probability - 0.5) / beta
    return jnp.square(chosen - target) + jnp.square(rejected + target)
