"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306): gains and losses against a reference point z0."""

import jax
import jax.numpy as jnp


def reference_point(mismatched_log_ratios: jax.Array) -> jax.Array:
    """z0 = max(0, mean over mismatched pairs (x_i, y_j) of log pi - log ref), without gradient.

    Args:
      mismatched_log_ratios: [M]; rows must be of different prompts, so M is at least 2 in what they were drawn from.
    """
    return jnp.maximum(0, jax.lax.stop_gradient(jnp.mean(mismatched_log_ratios)))


def kto(
    log_ratios: jax.Array,
    desirable: jax.Array,
    kl: jax.Array | float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> jax.Array:
    """Per example: w_D (1 - sig(beta (s - z0))) or w_U (1 - sig(beta (z0 - s))).

    Args:
      log_ratios: s, [N].
      desirable: [N], not 0 where the completion is desirable.
      kl: z0 (:func:`reference_point`); no gradient flows through it.
      beta: risk aversion.
      desirable_weight: w_D, lambda_D of the paper.
      undesirable_weight: w_U; keep w_D n_D / (w_U n_U) between 1 and 4/3.

    Returns:
      [N]; the paper's loss is their mean over examples.
    """
    distance = beta * (log_ratios - jax.lax.stop_gradient(kl))
    return jnp.where(
        desirable.astype(bool),
        desirable_weight * jax.nn.sigmoid(-distance),
        undesirable_weight * jax.nn.sigmoid(distance),
    )


def kto_pairs(
    chosen: jax.Array,
    rejected: jax.Array,
    kl: jax.Array | float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> jax.Array:
    """[B]: mean of both sides' losses, so that the mean over pairs is the mean over examples of :func:`kto`."""
    weights = (beta, desirable_weight, undesirable_weight)
    up = kto(chosen, jnp.ones(chosen.shape, bool), kl, *weights)
    down = kto(rejected, jnp.zeros(rejected.shape, bool), kl, *weights)
    return 0.5 * (up + down)
