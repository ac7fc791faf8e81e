"""Optax chains whose learning rate and weight decay are inputs of the compiled step.

The chain produces a *direction*; :func:`apply_direction` scales it. So one compilation serves every schedule, rate, horizon and decay.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from scaling.optim.config import OptimizerConfig

Parameters = Any  # a tree of float32 arrays


def direction(config: OptimizerConfig) -> optax.GradientTransformation:
    """The chain from raw gradients to the (ascent) direction that the learning rate multiplies.

    AdamW: clip the global norm, then Adam's moments (Kingma and Ba 2015, algorithm 1 with bias correction). Adafactor: clip the global norm,
    then factored second moments, update clipping at root-mean-square 1 and relative step sizes (Shazeer and Stern 2018, algorithms 4 and 6).
    """
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "adamw":
        return optax.chain(*clip, optax.scale_by_adam(config.beta1, config.beta2, config.epsilon))
    momentum = [optax.ema(config.beta1, debias=False)] if config.beta1 else []
    return optax.chain(
        *clip,
        optax.scale_by_factored_rms(),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_param_block_rms(),
        *momentum,
    )


def apply_direction(
    parameters: Parameters,
    directions: Parameters,
    decayed: Mapping[str, Any],
    learning_rate: jax.Array,
    weight_decay: jax.Array,
) -> Parameters:
    """parameters - learning_rate (directions + weight_decay parameters), the last term only where `decayed`.

    Decoupled decay in the form of Loshchilov and Hutter 2019, algorithm 2, with the decay multiplied by the learning rate as in optax and PyTorch.

    Args:
      parameters, directions: trees of equal structure, float32.
      decayed: tree of Python booleans of the same structure.
      learning_rate, weight_decay: float32 scalars, traced.
    """

    def updated(parameter, step, is_decayed):
        decay = weight_decay * parameter if is_decayed else jnp.zeros_like(parameter)
        return parameter - learning_rate * (step + decay)

    return jax.tree.map(updated, parameters, directions, decayed)
