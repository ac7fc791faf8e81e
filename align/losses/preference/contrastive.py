"""Losses that judge each completion against a fixed point of its own, and not only against the other: NCA, BCO, APO.

`chosen` and `rejected` are log-ratios s_w and s_l in nats.
"""

import jax


def nca(chosen: jax.Array, rejected: jax.Array, beta: float) -> jax.Array:
    """-log sig(beta s_w) - 1/2 log sig(-beta s_w) - 1/2 log sig(-beta s_l) (Chen et al. 2024, two completions)."""
    down = jax.nn.log_sigmoid(-beta * chosen) + jax.nn.log_sigmoid(-beta * rejected)
    return -jax.nn.log_sigmoid(beta * chosen) - 0.5 * down


def bco(chosen: jax.Array, rejected: jax.Array, beta: float, shift: float | jax.Array = 0.0) -> jax.Array:
    """-log sig(beta s_w - d) - log sig(-(beta s_l - d)): a classifier of chosen against rejected (Jung et al. 2024).

    Args:
      chosen: s_w.
      rejected: s_l.
      beta: scale of the implicit rewards.
      shift: d, the running mean of the implicit rewards of both sides, without gradient; 0 is TRL's "bco_pair".
    """
    shift = jax.lax.stop_gradient(shift)
    return -jax.nn.log_sigmoid(beta * chosen - shift) - jax.nn.log_sigmoid(shift - beta * rejected)


def apo_zero(chosen: jax.Array, rejected: jax.Array, beta: float) -> jax.Array:
    """1 - sig(beta s_w) + sig(beta s_l): chosen up, rejected down, where the chosen is better than the policy (D'Oosterlinck et al. 2024, eq. 7)."""
    return jax.nn.sigmoid(-beta * chosen) + jax.nn.sigmoid(beta * rejected)


def apo_down(chosen: jax.Array, rejected: jax.Array, beta: float) -> jax.Array:
    """sig(beta s_w) + 1 - sig(beta (s_w - s_l)): both down, the rejected more (D'Oosterlinck et al. 2024, eq. 8)."""
    return jax.nn.sigmoid(beta * chosen) + jax.nn.sigmoid(-beta * (chosen - rejected))
