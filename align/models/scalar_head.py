"""A scalar read from a transformer's hidden states: the reward of a completion, or the value of a state."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from align.models.log_probabilities import hidden_states
from align.sequences import Sequences, positions, segment_ids
from scaling.models.transformer import Transformer

HeadInit = Literal["stiennon", "zero"]


def init_head(width: int, key: jax.Array, init: HeadInit = "stiennon") -> dict[str, jax.Array]:
    """A linear head [D] with a bias.

    Args:
      width: D.
      key: of the kernel.
      init: "stiennon" draws N(0, 1 / (D + 1)), that is with standard deviation 1 / sqrt(D + 1) (Stiennon et al. 2020, appendix); "zero" begins with the
        same answer everywhere, as a value model may.
    """
    std = {"stiennon": 1 / math.sqrt(width + 1), "zero": 0.0}[init]
    return {"kernel": std * jax.random.normal(key, (width,), jnp.float32), "bias": jnp.zeros((), jnp.float32)}


def token_scalars(
    model: Transformer, parameters: Mapping[str, Any], head: Mapping[str, jax.Array], sequences: Sequences
) -> jax.Array:
    """The head at every token: float32 [B, T]."""
    hidden_BxTxD = hidden_states(model, parameters, sequences)
    return jnp.einsum("btd,d->bt", hidden_BxTxD, head["kernel"]) + head["bias"]


def sequence_scalars(
    model: Transformer, parameters: Mapping[str, Any], head: Mapping[str, jax.Array], sequences: Sequences
) -> jax.Array:
    """The head at the last token of each completion (by its length, never by an id): float32 [B]."""
    hidden_Bx1xD = model.hidden_states_at(
        parameters, sequences.tokens, segment_ids(sequences), positions(sequences), (sequences.lengths - 1)[:, None]
    )
    return jnp.einsum("bd,d->b", hidden_Bx1xD[:, 0], head["kernel"]) + head["bias"]
