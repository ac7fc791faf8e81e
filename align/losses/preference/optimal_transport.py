"""Alignment by optimal transport: the distribution of chosen rewards is to dominate that of rejected ones (Melnyk et al. 2024, arXiv:2406.05882).

The batch is sorted, so element i of the result belongs to the i-th quantile and not to the i-th pair, and a batch cannot be cut.
"""

import jax
import jax.numpy as jnp

from align.losses.preference.logistic import sigmoid


def aot(
    policy_margins: jax.Array, reference_margins: jax.Array, beta: float, label_smoothing: float = 0.0
) -> jax.Array:
    """Paired: quantiles over the batch of log pi(y_w) - log pi(y_l) against those of log ref(y_w) - log ref(y_l); all [B]."""
    return sigmoid(jnp.sort(policy_margins) - jnp.sort(reference_margins), beta, label_smoothing)


def aot_unpaired(chosen: jax.Array, rejected: jax.Array, beta: float, label_smoothing: float = 0.0) -> jax.Array:
    """Unpaired: quantiles over the batch of the chosen's log-ratios against those of the rejected's; all [B]."""
    return sigmoid(jnp.sort(chosen) - jnp.sort(rejected), beta, label_smoothing)
