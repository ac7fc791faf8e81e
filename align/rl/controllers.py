"""The coefficient of the KL penalty over a run. Its state is one scalar in a tree, so it is checkpointed with the rest."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from align.rl.controller_config import ControllerConfig


class ControllerState(NamedTuple):
    """What changes from rollout to rollout.

    Attributes:
      beta: scalar, the coefficient in force.
    """

    beta: jax.Array


def initial(config: ControllerConfig) -> ControllerState:
    """The state before the first rollout."""
    return ControllerState(jnp.asarray(config.beta, float))


def updated(
    config: ControllerConfig, state: ControllerState, kl: jax.Array, episodes: jax.Array | int
) -> ControllerState:
    """The state for the next rollout.

    Args:
      config: the controller.
      state: the state during this one.
      kl: nats, mean over sequences of their summed k1, of the policy that sampled.
      episodes: sequences of the rollout.
    """
    if config.name == "fixed":
        return state
    error = jnp.clip(kl / config.target - 1, -config.error_clip, config.error_clip)
    gain = config.step_gain if config.name == "alpaca_farm" else episodes / config.horizon
    return ControllerState(state.beta * (1 + gain * error))
