"""Several completions of one prompt in one row, so that the prompt's projections are computed once.

A pair repeats its prompt on both sides, and K ranked completions K times. Here a row is the prompt and then all K completions, each at the positions that it
has after the prompt; only attention, which is cheap at these lengths, sees each completion in a row with the prompt and without the others. What is computed is
what separate rows compute, up to rounding.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from align.models.log_probabilities import hidden_states, predicted_log_probs
from align.sequences import Sequences, positions, segment_ids
from scaling.models.attention import Attend, attention_at, causal_attention, taken
from scaling.models.transformer import LastLayer, Transformer


class Room(NamedTuple):
    """How many columns are kept for each part; static.

    Attributes:
      prompt: P, tokens of the longest prompt.
      completion: C, tokens of the longest completion.
    """

    prompt: int
    completion: int


def hidden_states_at(
    model: Transformer, parameters: Mapping[str, Any], sequences_BxK: Sequences, room: Room, tokens_BxKxR: jax.Array
) -> jax.Array:
    """What a head reads at some tokens of each completion's own row.

    Args:
      model: the architecture.
      parameters: its parameters.
      sequences_BxK: leaves [B, K, ...], rows of T columns; those of one b have the same prompt.
      room: no prompt and no completion is longer.
      tokens_BxKxR: int32, indices into those rows of tokens of the completion or the prompt; what is returned for padding means nothing.

    Returns:
      [B, K, R, D].
    """
    batch, ranks, _ = sequences_BxK.tokens.shape
    if not _shares(sequences_BxK, room):
        hidden_NxTxD = hidden_states(model, parameters, _separate(sequences_BxK))
        return taken(hidden_NxTxD, tokens_BxKxR.reshape(batch * ranks, -1)).reshape(*tokens_BxKxR.shape, -1)
    tokens_BxS, positions_BxS = _packed(sequences_BxK, room)
    attend = _attend(model, sequences_BxK, room)
    hidden_BxSxD, _ = model.hidden_states_by(attend, None, parameters, tokens_BxS, positions_BxS)
    columns_BxN = _columns(sequences_BxK, room, tokens_BxKxR).reshape(batch, -1)
    return taken(hidden_BxSxD, columns_BxN).reshape(*tokens_BxKxR.shape, -1)


def last_hidden_states(
    model: Transformer, parameters: Mapping[str, Any], sequences_BxK: Sequences, room: Room
) -> jax.Array:
    """:func:`hidden_states_at` at the last token of each completion, [B, K, D]; the last layer is computed there alone."""
    batch, ranks, _ = sequences_BxK.tokens.shape
    last_BxKx1 = (sequences_BxK.lengths - 1)[:, :, None]
    if not _shares(sequences_BxK, room):
        rows = _separate(sequences_BxK)
        hidden_Nx1xD = model.hidden_states_at(
            parameters, rows.tokens, segment_ids(rows), positions(rows), last_BxKx1.reshape(-1, 1)
        )
        return hidden_Nx1xD.reshape(batch, ranks, -1)
    tokens_BxS, positions_BxS = _packed(sequences_BxK, room)

    def attend_at(layer, cache, q_BxKxHxQ, *k_v):
        del layer
        keys_NxTxKxQ, values_NxTxKxQ = (_apart(array_BxSxKxQ, room, ranks) for array_BxSxKxQ in k_v)
        # The last token of a completion sees all of its row that is not padding.
        visible_Nx1xT = (_segment_ids(sequences_BxK, room) == 1)[:, None, :]
        q_Nx1xHxQ = q_BxKxHxQ.reshape(-1, 1, *q_BxKxHxQ.shape[2:])
        mixed_Nx1xHxQ = attention_at(q_Nx1xHxQ, keys_NxTxKxQ, values_NxTxKxQ, visible_Nx1xT, model.compute_dtype)
        return mixed_Nx1xHxQ.reshape(q_BxKxHxQ.shape), cache

    last = LastLayer(_columns(sequences_BxK, room, last_BxKx1)[:, :, 0], attend_at)
    attend = _attend(model, sequences_BxK, room)
    return model.hidden_states_by(attend, None, parameters, tokens_BxS, positions_BxS, last)[0]


def token_log_probs(
    model: Transformer, parameters: Mapping[str, Any], sequences_BxK: Sequences, room: Room, first_column: int = 1
) -> jax.Array:
    """:func:`align.models.log_probabilities.token_log_probs` of all completions: float32 [B, K, T], 0 before `first_column`."""
    batch, ranks, length = sequences_BxK.tokens.shape
    # A token is predicted by the one before it.
    before_BxKxR = jnp.broadcast_to(
        jnp.arange(first_column - 1, length - 1)[None, None], (batch, ranks, length - first_column)
    )
    hidden_BxKxRxD = hidden_states_at(model, parameters, sequences_BxK, room, before_BxKxR)
    hidden_NxRxD = hidden_BxKxRxD.reshape(batch * ranks, *hidden_BxKxRxD.shape[2:])
    tokens_NxT = sequences_BxK.tokens.reshape(batch * ranks, length)
    return predicted_log_probs(model, parameters, hidden_NxRxD, tokens_NxT, first_column).reshape(batch, ranks, length)


def sequence_scalars(
    model: Transformer,
    parameters: Mapping[str, Any],
    head: Mapping[str, jax.Array],
    sequences_BxK: Sequences,
    room: Room,
) -> jax.Array:
    """:func:`align.models.scalar_head.sequence_scalars` of all completions: float32 [B, K]."""
    last_BxKxD = last_hidden_states(model, parameters, sequences_BxK, room)
    return jnp.einsum("bkd,d->bk", last_BxKxD, head["kernel"]) + head["bias"]


def _shares(sequences_BxK: Sequences, room: Room) -> bool:
    """Whether rows that share their prompt have fewer columns than separate ones."""
    _, ranks, length = sequences_BxK.tokens.shape
    return room.prompt + ranks * room.completion < ranks * length


def _separate(sequences_BxK: Sequences) -> Sequences:
    return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), sequences_BxK)


def _attend(model: Transformer, sequences_BxK: Sequences, room: Room) -> Attend:
    """Each completion attends to the prompt and to itself."""
    ranks = sequences_BxK.tokens.shape[1]

    def attend(layer, cache, *q_k_v):
        del layer
        apart = (_apart(array_BxSxHxQ, room, ranks) for array_BxSxHxQ in q_k_v)
        segment_ids_NxT = _segment_ids(sequences_BxK, room)
        mixed_NxTxHxQ = causal_attention(*apart, segment_ids_NxT, model.compute_dtype, model.attention_chunk)
        return _together(mixed_NxTxHxQ, room, ranks), cache

    return attend


def _columns(sequences_BxK: Sequences, room: Room, tokens_BxKxR: jax.Array) -> jax.Array:
    """Where tokens of a completion's own row stand in the shared row: int32 [B, K, R]."""
    ranks = sequences_BxK.tokens.shape[1]
    prompts_BxKx1 = sequences_BxK.prompt_lengths[:, :, None]
    first_1xKx1 = (room.prompt + jnp.arange(ranks) * room.completion)[None, :, None]
    after_BxKxR = jnp.clip(tokens_BxKxR - prompts_BxKx1, 0, room.completion - 1)
    return jnp.where(tokens_BxKxR < prompts_BxKx1, tokens_BxKxR, first_1xKx1 + after_BxKxR)


def _packed(sequences_BxK: Sequences, room: Room) -> tuple[jax.Array, jax.Array]:
    """Tokens and positions of the shared rows, [B, S], S = P + K C."""
    batch, _, length = sequences_BxK.tokens.shape
    prompt_1xP = jnp.arange(room.prompt)[None, :]
    within_1x1xC = jnp.arange(room.completion)[None, None, :]
    # Padding may lie beyond the row's end, and learned positions have no entry there.
    places_BxKxC = jnp.minimum(sequences_BxK.prompt_lengths[:, :, None] + within_1x1xC, length - 1)
    completions_BxKxC = jnp.take_along_axis(sequences_BxK.tokens, places_BxKxC, axis=2)
    tokens = (sequences_BxK.tokens[:, 0, : room.prompt], completions_BxKxC.reshape(batch, -1))
    positions = (jnp.broadcast_to(prompt_1xP, (batch, room.prompt)), places_BxKxC.reshape(batch, -1))
    return jnp.concatenate(tokens, axis=1), jnp.concatenate(positions, axis=1)


def _segment_ids(sequences_BxK: Sequences, room: Room) -> jax.Array:
    """int32 [B K, P + C]: 1 at tokens, 0 at the padding after the prompt and after the completion."""
    is_prompt = jnp.arange(room.prompt)[None, None, :] < sequences_BxK.prompt_lengths[:, :, None]
    is_completion = jnp.arange(room.completion)[None, None, :] < sequences_BxK.completion_lengths[:, :, None]
    return jnp.concatenate([is_prompt, is_completion], axis=2).reshape(-1, sum(room)).astype(jnp.int32)


def _apart(x_BxSxHxQ: jax.Array, room: Room, ranks: int) -> jax.Array:
    """Each completion in a row with the prompt: [B K, P + C, H, Q]."""
    batch, _, *features = x_BxSxHxQ.shape
    prompts = jnp.broadcast_to(x_BxSxHxQ[:, None, : room.prompt], (batch, ranks, room.prompt, *features))
    completions = x_BxSxHxQ[:, room.prompt :].reshape(batch, ranks, room.completion, *features)
    return jnp.concatenate([prompts, completions], axis=2).reshape(batch * ranks, sum(room), *features)


def _together(x_NxTxHxQ: jax.Array, room: Room, ranks: int) -> jax.Array:
    """The inverse of :func:`_apart`; the prompt is the same in all rows of an example."""
    x_BxKxTxHxQ = x_NxTxHxQ.reshape(-1, ranks, *x_NxTxHxQ.shape[1:])
    batch, *_, heads, features = x_BxKxTxHxQ.shape
    completions = x_BxKxTxHxQ[:, :, room.prompt :].reshape(batch, -1, heads, features)
    return jnp.concatenate([x_BxKxTxHxQ[:, 0, : room.prompt], completions], axis=1)
