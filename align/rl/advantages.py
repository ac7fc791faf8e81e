"""Advantages without a value function: each completion against the others of its prompt."""

from typing import Literal

import jax
import jax.numpy as jnp

from align.rl.whitening import Moments, Variance

GroupScale = Literal["group", "batch", "none"]


def leave_one_out(rewards_GxK: jax.Array) -> jax.Array:
    """RLOO: r_i minus the mean of the other K - 1 rewards of the prompt (Ahmadian et al. 2024, arXiv:2402.14740, eq. 8): [G, K].

    Args:
      rewards_GxK: rewards of K completions, at least 2, of each of G prompts; the KL penalty already in them.

    Raises:
      ValueError: K is 1.
    """
    others = rewards_GxK.shape[1] - 1
    if others < 1:
        raise ValueError("leave-one-out needs at least two completions of a prompt")
    return rewards_GxK - (jnp.sum(rewards_GxK, axis=1, keepdims=True) - rewards_GxK) / others


def group_relative(
    rewards_GxK: jax.Array, scale: GroupScale = "group", variance: Variance = "unbiased", epsilon: float = 1e-4
) -> jax.Array:
    """GRPO: (r_i - mean) / (std + epsilon) over the completions of the prompt (Shao et al. 2024, arXiv:2402.03300, section 4.1): [G, K].

    Args:
      rewards_GxK: rewards of K completions of each of G prompts.
      scale: std over the "group", over the whole "batch", or "none" (Dr. GRPO; Liu et al. 2025, arXiv:2503.20783).
      variance: the paper does not say; "unbiased" (TRL) or "population".
      epsilon: added to the std, so that a group of equal rewards has advantages 0.
    """
    centred_GxK = rewards_GxK - jnp.mean(rewards_GxK, axis=1, keepdims=True)
    if scale == "none":
        return centred_GxK
    if scale == "batch":
        return centred_GxK / (jnp.sqrt(Moments.over(rewards_GxK).variance(variance)) + epsilon)
    lost = {"population": 0, "unbiased": 1}[variance]
    divisor = max(rewards_GxK.shape[1] - lost, 1)
    std_Gx1 = jnp.sqrt(jnp.sum(jnp.square(centred_GxK), axis=1, keepdims=True) / divisor)
    return centred_GxK / (std_Gx1 + epsilon)


def standardise(advantages: jax.Array, variance: Variance = "unbiased", epsilon: float = 1e-4) -> jax.Array:
    """(A - mean) / (std + epsilon) over the whole array, as TRL's RLOO does on request."""
    moments = Moments.over(advantages)
    return (advantages - moments.mean) / (jnp.sqrt(moments.variance(variance)) + epsilon)
