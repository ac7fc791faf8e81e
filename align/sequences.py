"""Prompts with their completions, as arrays. Masks come from lengths, never from ids: no id is special here.

Rows are right-padded: prompt, then completion (its EOS included, where it has one), then padding. What is said of a token (its log-probability, whether it
counts) stands at that token's own index; the model's shift by one is taken where log-probabilities are computed and nowhere else.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Sequences(NamedTuple):
    """A batch of prompts with one completion each; a tree of arrays, NumPy on the host or JAX on devices.

    Attributes:
      tokens: int32 [B, T], right-padded.
      prompt_lengths: int32 [B], tokens of each prompt; at least 1, because the first token of a row has no prediction.
      lengths: int32 [B], tokens of prompt and completion together, EOS included.
    """

    tokens: Any
    prompt_lengths: Any
    lengths: Any

    @property
    def completion_lengths(self) -> Any:
        """int32 [B]: tokens of each completion, EOS included."""
        return self.lengths - self.prompt_lengths


class Pairs(NamedTuple):
    """Preference pairs: row b of both sides answers the same prompt.

    Attributes:
      chosen: the preferred completions.
      rejected: the others.
    """

    chosen: Sequences
    rejected: Sequences


def completion_mask(sequences: Sequences) -> jax.Array:
    """float32 [B, T]: 1 at the tokens of the completion, EOS included, and 0 at the prompt and the padding."""
    index_1xT = jnp.arange(sequences.tokens.shape[1])[None, :]
    after_prompt_BxT = index_1xT >= sequences.prompt_lengths[:, None]
    return (after_prompt_BxT & (index_1xT < sequences.lengths[:, None])).astype(jnp.float32)


def token_mask(sequences: Sequences) -> jax.Array:
    """float32 [B, T]: 1 at the tokens of prompt and completion, 0 at the padding."""
    return (jnp.arange(sequences.tokens.shape[1])[None, :] < sequences.lengths[:, None]).astype(jnp.float32)


def segment_ids(sequences: Sequences) -> jax.Array:
    """int32 [B, T]: 1 at tokens, 0 at padding, so that padding attends to padding alone."""
    return token_mask(sequences).astype(jnp.int32)


def positions(sequences: Sequences) -> jax.Array:
    """int32 [B, T]: positions from the beginning of the prompt (those of padding are of no consequence)."""
    batch, length = sequences.tokens.shape
    return jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None, :], (batch, length))


def recombined(prompts: Sequences, completions: Sequences) -> Sequences:
    """The prompts of one batch with the completions of another, row by row.

    Args:
      prompts: rows whose prompts are taken.
      completions: rows whose completions are taken; of the same width, which prompt and completion together must not exceed.
    """
    index_1xT = jnp.arange(prompts.tokens.shape[1])[None, :]
    prompt_Bx1 = prompts.prompt_lengths[:, None]
    source_BxT = index_1xT - prompt_Bx1 + completions.prompt_lengths[:, None]
    shifted_BxT = jnp.take_along_axis(completions.tokens, jnp.clip(source_BxT, 0, index_1xT.shape[1] - 1), axis=1)
    tokens_BxT = jnp.where(index_1xT < prompt_Bx1, prompts.tokens, shifted_BxT)
    lengths_B = prompts.prompt_lengths + completions.completion_lengths
    return Sequences(jnp.where(index_1xT < lengths_B[:, None], tokens_BxT, 0), prompts.prompt_lengths, lengths_B)


def stacked(first: Sequences, second: Sequences) -> Sequences:
    """The rows of both, those of `first` before those of `second`: what one forward pass takes."""
    return Sequences(*(jnp.concatenate(pair, axis=0) for pair in zip(first, second, strict=True)))
