"""Losses without a reference: ORPO, SimPO, CPO, and the DPO paper's baselines. Log-probabilities are in nats, of any one shape."""

import math

import jax
import jax.numpy as jnp

from align.losses.preference.logistic import sigmoid

# A mean log-probability of 0 has infinite odds.
LARGEST_LOG_PROBABILITY = -1e-7


def log_odds(mean_log_probs: jax.Array) -> jax.Array:
    """log(p / (1 - p)) of p = exp(l), l clipped to at most -1e-7; 1 - p by the branch that keeps its digits (Mächler 2012)."""
    clipped = jnp.minimum(mean_log_probs, LARGEST_LOG_PROBABILITY)
    small = clipped < -math.log(2)
    # Each branch sees only arguments that suit it, so that neither sends NaN into the other's gradient.
    by_log1p = jnp.log1p(-jnp.exp(jnp.where(small, clipped, -1.0)))
    by_expm1 = jnp.log(-jnp.expm1(jnp.where(small, -math.log(2), clipped)))
    return clipped - jnp.where(small, by_log1p, by_expm1)


def odds_ratio(chosen_means: jax.Array, rejected_means: jax.Array) -> jax.Array:
    """ORPO's penalty, -log sig(log odds_w - log odds_l) (Hong et al. 2024); lambda times it joins the chosen's NLL.

    Args:
      chosen_means: log pi(y_w | x) / |y_w|.
      rejected_means: log pi(y_l | x) / |y_l|.
    """
    return -jax.nn.log_sigmoid(log_odds(chosen_means) - log_odds(rejected_means))


def simpo(
    chosen_means: jax.Array,
    rejected_means: jax.Array,
    beta: float,
    gamma: float,
    label_smoothing: float | jax.Array = 0.0,
) -> jax.Array:
    """-log sig(beta (l_w - l_l) - gamma) of mean log-probabilities (Meng et al. 2024); published beta 2 to 2.5, gamma / beta 0.3 to 0.6."""
    return sigmoid(beta * (chosen_means - rejected_means) - gamma, 1.0, label_smoothing)


def cpo(
    chosen_sums: jax.Array, rejected_sums: jax.Array, beta: float, label_smoothing: float | jax.Array = 0.0
) -> jax.Array:
    """CPO's contrastive part, -log sig(beta (log pi(y_w) - log pi(y_l))) (Xu et al. 2024); the chosen's NLL joins it."""
    return sigmoid(chosen_sums - rejected_sums, beta, label_smoothing)


def unlikelihood(chosen_nll: jax.Array, rejected_nll: jax.Array, weight: float) -> jax.Array:
    """NLL of the chosen minus `weight` times that of the rejected: unbounded below (Welleck et al. 2020 in the form of Rafailov et al. 2023, section 6)."""
    return chosen_nll - weight * rejected_nll
