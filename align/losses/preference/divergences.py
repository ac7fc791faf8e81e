"""f-divergences as the tie to the reference: a completion's score is f'(u) of u = pi(y | x) / ref(y | x), up to constants that cancel between two completions.

Wang, Jiang, Yang, Liu and Chen 2023, 'Beyond reverse KL' (arXiv:2309.16240), table 1; reverse KL is DPO.
"""

import math

import jax
import jax.numpy as jnp

from align.bounded_exp import bounded_exp


def score(
    log_ratios: jax.Array, divergence: str = "reverse_kl", alpha: float = 0.5, alpha_convention: str = "wang"
) -> jax.Array:
    """f'(exp(log_ratio)), of any shape.

    Args:
      log_ratios: log pi(y | x) - log ref(y | x).
      divergence: "reverse_kl": log u; "forward_kl": 1 - 1 / u; "js": log(2 u / (1 + u)); "alpha": as the convention has it.
      alpha: of "alpha"; where it makes the exponent vanish, the limit log u is taken.
      alpha_convention: "wang": (1 - u^-alpha) / alpha; "cressie_read": (u^(alpha - 1) - 1) / (alpha - 1).
    """
    if divergence == "reverse_kl":
        return log_ratios
    if divergence == "forward_kl":
        return 1 - bounded_exp(-log_ratios)
    if divergence == "js":
        return math.log(2) + jax.nn.log_sigmoid(log_ratios)
    if divergence == "alpha":
        return _power(log_ratios, -alpha if alpha_convention == "wang" else alpha - 1)
    raise ValueError(f"unknown f-divergence {divergence!r}")


def _power(log_ratios: jax.Array, exponent: float) -> jax.Array:
    """(u^e - 1) / e, with its limit log u; by expm1 where u^e is near 1, so that no digits are lost there."""
    if abs(exponent) < 1e-6:
        return log_ratios
    scaled = exponent * log_ratios
    near = jnp.abs(scaled) < 1
    powers = jnp.where(near, jnp.expm1(jnp.where(near, scaled, 0)), bounded_exp(scaled) - 1)
    return powers / exponent
