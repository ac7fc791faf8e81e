"""Losses of reward models, and ensembles of them. Rewards are scalars of whole completions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def bradley_terry(
    chosen_B: jax.Array,
    rejected_B: jax.Array,
    margin_B: jax.Array | float = 0.0,
    centring: float = 0.0,
    probability_B: jax.Array | float = 1.0,
) -> jax.Array:
    """-p log sig(r_w - r_l - m) - (1 - p) log sig(r_l - r_w + m) + c (r_w + r_l)^2: float [B], one element a pair.

    Args:
      chosen_B: r_w, rewards of the preferred completions.
      rejected_B: r_l.
      margin_B: m, by which the preferred is known to be better (Touvron et al. 2023, Llama 2, eq. 2).
      centring: c; 0.01 ties down the constant that comparisons leave free (Eisenstein et al. 2023).
      probability_B: p, soft labels; 1 is the model of Bradley and Terry with hard ones (Ouyang et al. 2022).
    """
    logits_B = chosen_B - rejected_B - margin_B
    losses_B = -probability_B * jax.nn.log_sigmoid(logits_B) - (1 - probability_B) * jax.nn.log_sigmoid(-logits_B)
    return losses_B + centring * jnp.square(chosen_B + rejected_B)


def ranked(rewards_BxK: jax.Array, ranks_BxK: jax.Array | None = None) -> jax.Array:
    """InstructGPT's loss: all comparisons among the K completions of one prompt are one element (Ouyang et al. 2022, eq. 1).

    -1 / C(K, 2) sum over pairs log sig(r_better - r_worse), tied pairs left out of sum and count.

    Args:
      rewards_BxK: rewards of the completions, in order of preference, best first, unless ranks are given.
      ranks_BxK: int, smaller is better, equal is a tie, and below 0 is an empty place.

    Returns:
      float [B]; 0 for prompts of which nothing can be compared.
    """
    if ranks_BxK is None:
        ranks_BxK = jnp.broadcast_to(jnp.arange(rewards_BxK.shape[1])[None, :], rewards_BxK.shape)
    better_BxKxK = ranks_BxK[:, :, None] < ranks_BxK[:, None, :]
    counted_BxKxK = better_BxKxK & (ranks_BxK[:, :, None] >= 0) & (ranks_BxK[:, None, :] >= 0)
    differences_BxKxK = jnp.where(counted_BxKxK, rewards_BxK[:, :, None] - rewards_BxK[:, None, :], 0)
    losses_BxKxK = jnp.where(counted_BxKxK, -jax.nn.log_sigmoid(differences_BxKxK), 0)
    pairs_B = jnp.sum(counted_BxKxK, axis=(1, 2), dtype=rewards_BxK.dtype)
    return jnp.sum(losses_BxKxK, axis=(1, 2)) / jnp.maximum(pairs_B, 1)


def mean_of_ensemble(rewards_MxB: jax.Array) -> jax.Array:
    """float [B]: mean over the M members."""
    return jnp.mean(rewards_MxB, axis=0)


def worst_case(rewards_MxB: jax.Array) -> jax.Array:
    """float [B]: the lowest reward of any member (WCO; Coste et al. 2023, arXiv:2310.02743, eq. 2)."""
    return jnp.min(rewards_MxB, axis=0)


def uncertainty_weighted(rewards_MxB: jax.Array, coefficient: float = 0.1) -> jax.Array:
    """float [B]: mean minus `coefficient` times the population variance over members (UWO; Coste et al. 2023, eq. 3)."""
    return jnp.mean(rewards_MxB, axis=0) - coefficient * jnp.var(rewards_MxB, axis=0)


ENSEMBLES: dict[str, Callable[..., jax.Array]] = {
    "mean": mean_of_ensemble,
    "worst_case": worst_case,
    "uncertainty_weighted": uncertainty_weighted,
}
