"""One step of the sampling loop behind the model: logits in, a token of every row and which rows end with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from align.generation.draw import draw
from align.generation.filters import sampling_logits
from align.generation.sampling_config import SamplingConfig
from scaling.mesh import constrain
from scaling.models.cache import KeyValueCache

# Stands where no token is yet; no token id, so no stop sequence matches it. _ANY_TOKEN stands before a stop sequence that is shorter than the longest.
_NO_TOKEN, _ANY_TOKEN = -1, -2


class State(NamedTuple):
    """The loop's carry; M is `max_new_tokens`, W the length of the longest stop sequence.

    Attributes:
      step: int32 scalar, tokens sampled so far.
      cache: of all tokens but the last.
      tokens_MxB, log_probs_MxB, model_log_probs_MxB: what was sampled, step by step.
      recent_BxW: the last tokens of each completion.
      lengths_B: tokens of each completion.
      ended_B: rows that sample no more.
    """

    step: jax.Array
    cache: KeyValueCache
    tokens_MxB: jax.Array
    log_probs_MxB: jax.Array
    model_log_probs_MxB: jax.Array
    recent_BxW: jax.Array
    lengths_B: jax.Array
    ended_B: jax.Array


def initial_state(config: SamplingConfig, cache: KeyValueCache, batch: int) -> State:
    """Nothing is sampled yet; the cache holds the prompts."""
    steps, longest = config.max_new_tokens, max(map(len, config.stop_sequences), default=0)
    return State(
        step=jnp.zeros((), jnp.int32),
        cache=cache,
        tokens_MxB=jnp.zeros((steps, batch), jnp.int32),
        log_probs_MxB=jnp.zeros((steps, batch), jnp.float32),
        model_log_probs_MxB=jnp.zeros((steps, batch), jnp.float32),
        recent_BxW=jnp.full((batch, longest), _NO_TOKEN, jnp.int32),
        lengths_B=jnp.zeros((batch,), jnp.int32),
        ended_B=jnp.zeros((batch,), bool),
    )


def choose(config: SamplingConfig, eos_id: int | None, keys_B, logits_BxV: jax.Array, state: State) -> State:
    """Samples a token of every row and decides which rows end with it.

    Args:
      config: how to sample.
      eos_id: ends a row; None where only stop sequences do.
      keys_B: of the rows; the step is folded in here.
      logits_BxV: the model's, of the next token.
      state: before this step.
    """
    # The whole vocabulary on each device, once a step: what follows is then local to a row.
    logits_BxV = constrain(logits_BxV, ("batch", None))
    tokens_B, log_probs_B = _sample(config, eos_id, keys_B, logits_BxV, state.step)
    model_log_probs_B = _log_prob(logits_BxV, tokens_B)
    step, running_B = state.step, ~state.ended_B
    recent_BxW = jnp.concatenate([state.recent_BxW, tokens_B[:, None]], axis=1)[:, 1:]
    ends_B = _stops(config, recent_BxW)
    if eos_id is not None:
        ends_B = ends_B | (tokens_B == eos_id)
    ends_B = ends_B & (step + 1 >= config.min_new_tokens)
    return state._replace(
        step=step + 1,
        tokens_MxB=state.tokens_MxB.at[step].set(jnp.where(running_B, tokens_B, 0)),
        log_probs_MxB=state.log_probs_MxB.at[step].set(jnp.where(running_B, log_probs_B, 0)),
        model_log_probs_MxB=state.model_log_probs_MxB.at[step].set(jnp.where(running_B, model_log_probs_B, 0)),
        recent_BxW=recent_BxW,
        lengths_B=state.lengths_B + running_B,
        ended_B=state.ended_B | ends_B,
    )


def _sample(config: SamplingConfig, eos_id: int | None, keys_B, logits_BxV: jax.Array, step: jax.Array):
    """Tokens [B] and their log-probabilities under the distribution that they were drawn from."""
    if eos_id is not None and config.min_new_tokens:
        is_eos_1xV = (jnp.arange(logits_BxV.shape[1]) == eos_id)[None, :]
        logits_BxV = jnp.where(is_eos_1xV & (step + 1 < config.min_new_tokens), -jnp.inf, logits_BxV)
    if config.temperature == 0:
        return _first_largest(logits_BxV), jnp.zeros(len(logits_BxV), jnp.float32)
    sampled_BxV = sampling_logits(logits_BxV, config)
    keys_B = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_B, step)
    uniform_Bx2 = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys_B)
    tokens_B = draw(uniform_Bx2, jnp.exp(sampled_BxV - jnp.max(sampled_BxV, axis=-1, keepdims=True)))
    return tokens_B, _log_prob(sampled_BxV, tokens_B)


def _first_largest(x_BxV: jax.Array) -> jax.Array:
    """argmax over the last axis, the lowest index among equals. As two reductions, which XLA vectorises on CPU as it does not argmax (about 8 times)."""
    ids_1xV = jnp.arange(x_BxV.shape[1], dtype=jnp.int32)[None, :]
    is_largest_BxV = x_BxV == jnp.max(x_BxV, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_largest_BxV, ids_1xV, x_BxV.shape[1] - 1), axis=-1)


def _log_prob(logits_BxV: jax.Array, tokens_B: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits_BxV, tokens_B[:, None], axis=1)[:, 0] - jax.nn.logsumexp(logits_BxV, axis=-1)


def _stops(config: SamplingConfig, recent_BxW: jax.Array) -> jax.Array:
    """bool [B]: whether a stop sequence has just become complete."""
    batch, longest = recent_BxW.shape
    if not config.stop_sequences:
        return jnp.zeros((batch,), bool)
    padded = [(_ANY_TOKEN,) * (longest - len(sequence)) + sequence for sequence in config.stop_sequences]
    stops_1xNxW = jnp.asarray(padded, jnp.int32)[None]
    agree_BxNxW = (recent_BxW[:, None, :] == stops_1xNxW) | (stops_1xNxW == _ANY_TOKEN)
    return jnp.any(jnp.all(agree_BxNxW, axis=2), axis=1)
