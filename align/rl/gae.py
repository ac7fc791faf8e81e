"""Generalised advantage estimation over the tokens of completions (Schulman et al. 2016, arXiv:1506.02438, eq. 16)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Gaps = Literal["bridge", "step"]


class Advantages(NamedTuple):
    """Targets of policy and value function; 0 outside the completion.

    Attributes:
      advantages: [B, T], A_t.
      returns: [B, T], A_t + V_t, of the advantages before they are whitened.
    """

    advantages: jax.Array
    returns: jax.Array


def state_values(scalars_BxT: jax.Array) -> jax.Array:
    """V of the state in which each token was chosen, at the token's own index: [B, T].

    Args:
      scalars_BxT: a value head's answer after it has read token t, at index t.
    """
    return jnp.pad(scalars_BxT[:, :-1], ((0, 0), (1, 0)))


def gae(
    rewards_BxT: jax.Array,
    values_BxT: jax.Array,
    mask_BxT: jax.Array,
    discount: float = 1.0,
    trace: float = 0.95,
    gaps: Gaps = "bridge",
) -> Advantages:
    """delta_t = R_t + g V_{t+1} - V_t and A_t = delta_t + g l A_{t+1}, with V after the last token 0.

    Args:
      rewards_BxT: R_t, of choosing token t.
      values_BxT: V_t of the state in which token t was chosen (:func:`state_values`); no gradient flows through it.
      mask_BxT: not 0 at the tokens that were chosen; what stands elsewhere is not read.
      discount: g (gamma).
      trace: l (lambda): 0 is one-step temporal difference, 1 Monte Carlo.
      gaps: of tokens inside a completion that the mask leaves out: "bridge" joins what lies on both sides; "step" counts each as a step of reward 0 and
        value 0, as libraries do that multiply by the mask. A completion without gaps has one answer.
    """
    real_BxT = mask_BxT.astype(bool)
    rewards_BxT = jnp.where(real_BxT, rewards_BxT, 0)
    values_BxT = jax.lax.stop_gradient(jnp.where(real_BxT, values_BxT, 0))

    def back(carry, column):
        next_advantage_B, next_value_B = carry
        reward_B, value_B, real_B = column
        advantage_B = reward_B + discount * next_value_B - value_B + discount * trace * next_advantage_B
        if gaps == "step":
            return (advantage_B, value_B), advantage_B
        kept = (jnp.where(real_B, advantage_B, next_advantage_B), jnp.where(real_B, value_B, next_value_B))
        return kept, advantage_B

    beyond_B = jnp.zeros(rewards_BxT.shape[0], rewards_BxT.dtype)
    columns = (rewards_BxT.T, values_BxT.T, real_BxT.T)
    _, advantages_TxB = jax.lax.scan(back, (beyond_B, beyond_B), columns, reverse=True)
    advantages_BxT = jnp.where(real_BxT, advantages_TxB.T, 0)
    return Advantages(advantages_BxT, advantages_BxT + values_BxT)
