"""Log-probabilities of tokens under a policy. The one place where predictions are shifted against tokens."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from align.sequences import Sequences, positions, segment_ids
from scaling.models.transformer import Transformer


class TokenStatistics(NamedTuple):
    """What a policy says of every token; 0 before `first_column`.

    Attributes:
      log_probs: float32 [B, T], log pi(token t | tokens before t), at the token's own index.
      entropies: float32 [B, T], nats, of the distribution that token t was drawn from.
    """

    log_probs: jax.Array
    entropies: jax.Array


def token_log_probs(
    model: Transformer,
    parameters: Mapping[str, Any],
    sequences: Sequences,
    first_column: int = 1,
    temperature: float = 1.0,
) -> jax.Array:
    """log pi of every token from `first_column` on: float32 [B, T], 0 before.

    Args:
      model: the policy's architecture.
      parameters: its parameters.
      sequences: right-padded rows.
      first_column: static; no completion begins before it. The vocabulary's head, a large part of a small model, is not computed at earlier columns.
      temperature: divides the logits, as it does where the tokens were sampled.
    """
    logits_BxCxV, targets_BxC = _predictions(model, parameters, sequences, first_column, temperature)
    return _padded_left(_selected(logits_BxCxV, targets_BxC), first_column)


def token_statistics(
    model: Transformer,
    parameters: Mapping[str, Any],
    sequences: Sequences,
    first_column: int = 1,
    temperature: float = 1.0,
) -> TokenStatistics:
    """:func:`token_log_probs` with entropies."""
    logits_BxCxV, targets_BxC = _predictions(model, parameters, sequences, first_column, temperature)
    log_probs_BxCxV = jax.nn.log_softmax(logits_BxCxV, axis=-1)
    entropies_BxC = -jnp.sum(jnp.exp(log_probs_BxCxV) * log_probs_BxCxV, axis=-1)
    return TokenStatistics(
        _padded_left(_selected(logits_BxCxV, targets_BxC), first_column), _padded_left(entropies_BxC, first_column)
    )


def exact_token_kl(
    model: Transformer,
    policy: Mapping[str, Any],
    reference: Mapping[str, Any],
    sequences: Sequences,
    first_column: int = 1,
    temperature: float = 1.0,
) -> jax.Array:
    """KL(pi || ref) over the whole vocabulary at every token: float32 [B, T], 0 before `first_column`."""
    of_policy, of_reference = (
        jax.nn.log_softmax(_predictions(model, parameters, sequences, first_column, temperature)[0], axis=-1)
        for parameters in (policy, reference)
    )
    return _padded_left(jnp.sum(jnp.exp(of_policy) * (of_policy - of_reference), axis=-1), first_column)


def predicted_log_probs(
    model: Transformer, parameters: Mapping[str, Any], hidden_BxCxD: jax.Array, tokens_BxT: jax.Array, first_column: int
) -> jax.Array:
    """log pi of the tokens from `first_column` on, of hidden states at the columns from `first_column` - 1 to T - 2: float32 [B, T], 0 before."""
    logits_BxCxV = model.logits(parameters, hidden_BxCxD)
    return _padded_left(_selected(logits_BxCxV, tokens_BxT[:, first_column:]), first_column)


def hidden_states(model: Transformer, parameters: Mapping[str, Any], sequences: Sequences) -> jax.Array:
    """What the model's head reads at every token, [B, T, D]; padding is a segment of its own."""
    return model.hidden_states(parameters, sequences.tokens, segment_ids(sequences), positions(sequences))


def _predictions(model, parameters, sequences: Sequences, first_column: int, temperature: float):
    """Logits that predict the tokens of the columns from `first_column` on, and those tokens."""
    if first_column < 1:
        raise ValueError(f"first_column is {first_column}: the first token of a row has no prediction")
    hidden_BxTxD = hidden_states(model, parameters, sequences)
    logits_BxCxV = model.logits(parameters, hidden_BxTxD[:, first_column - 1 : -1])
    return logits_BxCxV / temperature, sequences.tokens[:, first_column:]


def _selected(logits_BxCxV: jax.Array, targets_BxC: jax.Array) -> jax.Array:
    log_z_BxC = jax.nn.logsumexp(logits_BxCxV, axis=-1)
    # By comparison and not by a gather, so that logits split along the vocabulary need only a sum over devices.
    is_target_BxCxV = targets_BxC[:, :, None] == jnp.arange(logits_BxCxV.shape[-1], dtype=targets_BxC.dtype)[None, None]
    return jnp.sum(jnp.where(is_target_BxCxV, logits_BxCxV, 0.0), axis=-1) - log_z_BxC


def _padded_left(values_BxC: jax.Array, first_column: int) -> jax.Array:
    return jnp.pad(values_BxC, ((0, 0), (first_column, 0)))
