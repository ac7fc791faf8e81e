"""Completions under prompts that they do not answer: what KTO estimates KL(pi || ref) from."""

import jax.numpy as jnp

from align.sequences import Sequences
from scaling.errors import DataError


def mismatched(sequences: Sequences) -> Sequences:
    """Row i: prompt i with the completion of row i + 1, the last with that of the first (Ethayarajh et al. 2024, section 4.1).

    Args:
      sequences: a batch of prompts with completions; neighbours must be of different prompts, which a batch of pairs by prompt is.

    Returns:
      As wide as the input: a completion that does not fit behind its new prompt loses its end.

    Raises:
      DataError: the batch has one row, so that its only completion would be matched.
    """
    rows, width = sequences.tokens.shape
    if rows < 2:
        raise DataError(
            "KTO estimates a KL from completions of other prompts, and the batch has one", "use a batch of 2 or more"
        )
    donors = Sequences(*(jnp.roll(jnp.asarray(array), -1, axis=0) for array in sequences))
    prompt_lengths_B = jnp.asarray(sequences.prompt_lengths)
    index_1xT = jnp.arange(width)[None, :]
    # Where the donor has the token that comes to stand at an index.
    source_BxT = index_1xT - prompt_lengths_B[:, None] + donors.prompt_lengths[:, None]
    moved_BxT = jnp.take_along_axis(donors.tokens, jnp.clip(source_BxT, 0, width - 1), axis=1)
    tokens_BxT = jnp.where(index_1xT < prompt_lengths_B[:, None], jnp.asarray(sequences.tokens), moved_BxT)
    lengths_B = jnp.minimum(prompt_lengths_B + donors.completion_lengths, width)
    return Sequences(jnp.where(index_1xT < lengths_B[:, None], tokens_BxT, 0), prompt_lengths_B, lengths_B)
