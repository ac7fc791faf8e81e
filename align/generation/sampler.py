"""One compiled program that reads a batch of prompts and samples until every row has ended.

Every row has its own key, and what it draws at its own t-th token depends on that key and t alone: neither the other rows, nor their order, nor the
mesh change a row (beyond rounding, where shapes differ).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from align.generation.filters import sampling_logits
from align.generation.sampling_config import SamplingConfig
from align.sequences import Sequences
from scaling import mesh as meshes
from scaling.errors import ConfigError
from scaling.mesh import constrain
from scaling.models.cache import KeyValueCache, decode, prefill, ready_to_decode
from scaling.models.transformer import Transformer

# Stands where no token is yet; no token id, so no stop sequence matches it. _ANY_TOKEN stands before a stop sequence that is shorter than the longest.
_NO_TOKEN, _ANY_TOKEN = -1, -2

# Where :func:`scaling.models.cache.ready_to_decode` copies kernels into blocks: see _kernels_in_blocks.
_MOST_ROWS_IN_BLOCKS, _FEWEST_STEPS_IN_BLOCKS = 32, 48


class Generation(NamedTuple):
    """Completions of a batch of prompts.

    Attributes:
      sequences: right-padded [B, P + M], P the padded width of the prompts and M `max_new_tokens`. EOS and stop sequences are kept and counted.
      log_probs: float32 [B, P + M], of each completion token under the distribution that it was sampled from (temperature and filters included), at the
        token's own index; 0 elsewhere. At temperature 0 that distribution is certain, so they are 0.
      model_log_probs: the same under the model itself: temperature 1, nothing filtered.
      ended: bool [B], whether EOS or a stop sequence ended the completion, not `max_new_tokens`.
    """

    sequences: Sequences
    log_probs: Any
    model_log_probs: Any
    ended: Any


Generator = Callable[[Mapping[str, Any], jax.Array, jax.Array, jax.Array], Generation]


class _State(NamedTuple):
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


def row_keys(seed: int, prompt_numbers: jax.Array, sample_numbers: jax.Array) -> jax.Array:
    """The key of every row: uint32 [B, 2], a function of (seed, prompt number, sample number) and of nothing else.

    Args:
      seed: of the whole job.
      prompt_numbers, sample_numbers: int [B]; which prompt of the job, and which of its samples.
    """
    numbers = (jnp.asarray(numbers, jnp.uint32) for numbers in (prompt_numbers, sample_numbers))
    return _row_keys(jax.random.key(seed), *numbers)


@jax.jit
def _row_keys(key: jax.Array, prompt_numbers_B: jax.Array, sample_numbers_B: jax.Array) -> jax.Array:
    def of_row(prompt_number, sample_number):
        return jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, prompt_number), sample_number))

    return jax.vmap(of_row)(prompt_numbers_B, sample_numbers_B)


def generate(
    model: Transformer,
    parameters: Mapping[str, Any],
    prompts_BxP: jax.Array,
    prompt_lengths_B: jax.Array,
    keys: jax.Array,
    config: SamplingConfig,
    eos_id: int | None,
    mesh: Mesh | None = None,
) -> Generation:
    """Samples one completion of every prompt. Compiled once per shape, model and configuration.

    Args:
      model: the architecture.
      parameters: its parameters.
      prompts_BxP: int32 right-padded prompts; what stands behind a prompt's length is never read.
      prompt_lengths_B: int32, at least 1.
      keys: of the rows (:func:`row_keys`).
      config: how to sample.
      eos_id: ends a completion; None where only stop sequences and the length do.
      mesh: the devices, rows split over "data" and "fsdp" and heads over "tensor"; None for one device.

    Raises:
      ConfigError: prompts and completions do not fit the model's context, or ids are outside its vocabulary.
    """
    return generator(model, config, eos_id, mesh)(parameters, prompts_BxP, prompt_lengths_B, keys)


@functools.lru_cache(maxsize=32)
def generator(model: Transformer, config: SamplingConfig, eos_id: int | None, mesh: Mesh | None = None) -> Generator:
    """The compiled form of :func:`generate`: (parameters, prompts_BxP, prompt_lengths_B, keys) -> Generation."""
    _check_ids(model, config, eos_id)
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    one_cpu = platform == "cpu" and (mesh is None or mesh.size == 1)
    program = functools.partial(_generate, model, config, eos_id, one_cpu)
    if mesh is None:
        return jax.jit(program)
    replicated = NamedSharding(mesh, PartitionSpec())
    rows = meshes.batch_sharding(mesh)
    compiled = jax.jit(meshes.with_rules(mesh, program), out_shardings=replicated)

    def on_mesh(parameters, prompts_BxP, prompt_lengths_B, keys):
        return compiled(parameters, *jax.device_put((prompts_BxP, prompt_lengths_B, keys), rows))

    return on_mesh


def _check_ids(model: Transformer, config: SamplingConfig, eos_id: int | None) -> None:
    vocab_size = model.config.vocab_size
    ends = {token for sequence in config.stop_sequences for token in sequence} | ({eos_id} - {None})
    outside = sorted(token for token in ends if not 0 <= token < vocab_size)
    if outside:
        raise ConfigError(
            f"eos_id or SamplingConfig.stop_sequences name the tokens {outside}, and the model's vocabulary has {vocab_size}",
            "use ids of the model's own vocabulary",
        )


def _generate(
    model: Transformer,
    config: SamplingConfig,
    eos_id: int | None,
    one_cpu: bool,
    parameters,
    prompts_BxP,
    prompt_lengths_B,
    keys,
) -> Generation:
    prompt_slots = prompts_BxP.shape[1]
    if prompt_slots + config.max_new_tokens > model.config.max_length:
        raise ConfigError(
            f"prompts padded to {prompt_slots} and SamplingConfig.max_new_tokens {config.max_new_tokens} exceed the model's max_length "
            f"{model.config.max_length}",
            "shorten the prompts or sample fewer tokens",
        )
    decoded_parameters = ready_to_decode(model, parameters, one_cpu and _kernels_in_blocks(config, len(prompts_BxP)))
    choose = functools.partial(_choose, config, eos_id, jax.random.wrap_key_data(keys))

    def keep_going(state: _State):
        return (state.step < config.max_new_tokens) & ~jnp.all(state.ended_B)

    def sample_next(state: _State) -> _State:
        hidden_BxD, cache = decode(model, decoded_parameters, state.cache, state.tokens_MxB[state.step - 1])
        return choose(model.logits(decoded_parameters, hidden_BxD[:, None])[:, 0], state._replace(cache=cache))

    # The last token is never read, so it needs no slot.
    slots = prompt_slots + config.max_new_tokens - 1
    hidden_BxPxD, cache = prefill(model, parameters, prompts_BxP, prompt_lengths_B, slots)
    last_Bx1xD = jnp.take_along_axis(hidden_BxPxD, (prompt_lengths_B - 1)[:, None, None], axis=1)
    state = choose(model.logits(parameters, last_Bx1xD)[:, 0], _initial_state(config, cache, len(prompts_BxP)))
    state = jax.lax.while_loop(keep_going, sample_next, state)
    return _right_padded(state, prompts_BxP, prompt_lengths_B)


def _kernels_in_blocks(config: SamplingConfig, rows: int) -> bool:
    """Where the copy pays (measured): one row is a matrix-vector product, which reads kernels as they are, and many rows are not bound by reading them."""
    return 2 <= rows <= _MOST_ROWS_IN_BLOCKS and config.max_new_tokens >= _FEWEST_STEPS_IN_BLOCKS


def _initial_state(config: SamplingConfig, cache: KeyValueCache, batch: int) -> _State:
    steps, longest = config.max_new_tokens, max(map(len, config.stop_sequences), default=0)
    return _State(
        step=jnp.zeros((), jnp.int32),
        cache=cache,
        tokens_MxB=jnp.zeros((steps, batch), jnp.int32),
        log_probs_MxB=jnp.zeros((steps, batch), jnp.float32),
        model_log_probs_MxB=jnp.zeros((steps, batch), jnp.float32),
        recent_BxW=jnp.full((batch, longest), _NO_TOKEN, jnp.int32),
        lengths_B=jnp.zeros((batch,), jnp.int32),
        ended_B=jnp.zeros((batch,), bool),
    )


def _choose(config: SamplingConfig, eos_id: int | None, keys_B, logits_BxV: jax.Array, state: _State) -> _State:
    """Samples a token of every row and decides which rows end with it."""
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
    # Gumbel-max: the largest of logits with independent Gumbel noise is a sample of their softmax.
    noise_BxV = jax.vmap(lambda key: jax.random.gumbel(key, sampled_BxV.shape[1:], sampled_BxV.dtype))(keys_B)
    tokens_B = _first_largest(sampled_BxV + noise_BxV)
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


def _right_padded(state: _State, prompts_BxP: jax.Array, prompt_lengths_B: jax.Array) -> Generation:
    """Moves each completion to the end of its own prompt."""
    batch, prompt_slots = prompts_BxP.shape
    steps = len(state.tokens_MxB)
    index_1xT = jnp.arange(prompt_slots + steps, dtype=jnp.int32)[None, :]
    step_BxT = index_1xT - prompt_lengths_B[:, None]
    in_completion_BxT = (step_BxT >= 0) & (step_BxT < state.lengths_B[:, None])
    clipped_BxT = jnp.clip(step_BxT, 0, steps - 1)

    def moved(values_MxB):
        return jnp.where(in_completion_BxT, jnp.take_along_axis(values_MxB.T, clipped_BxT, axis=1), 0)

    prompts_BxT = jnp.pad(prompts_BxP.astype(jnp.int32), ((0, 0), (0, steps)))
    tokens_BxT = jnp.where(step_BxT < 0, prompts_BxT, moved(state.tokens_MxB))
    return Generation(
        sequences=Sequences(tokens_BxT, prompt_lengths_B, prompt_lengths_B + state.lengths_B),
        log_probs=moved(state.log_probs_MxB),
        model_log_probs=moved(state.model_log_probs_MxB),
        ended=state.ended_B,
    )
