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

from align.generation.sampling_config import SamplingConfig
from align.generation.sampling_step import State, choose, initial_state
from align.sequences import Sequences
from scaling import mesh as meshes
from scaling.errors import ConfigError
from scaling.models.cache import decode, grown, prefill, ready_to_decode
from scaling.models.transformer import Transformer

# Where :func:`scaling.models.cache.ready_to_decode` copies kernels into blocks: see _kernels_in_blocks.
_MOST_ROWS_IN_BLOCKS, _FEWEST_STEPS_IN_BLOCKS = 32, 48

# Every phase of the loop is compiled apart. Of 128 steps behind prompts of as many tokens, three phases read a sixth less of the cache than one does.
_PHASES, _FEWEST_STEPS_IN_PHASES = 3, 96


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
    compiled = generator(model, config, eos_id, mesh)
    return compiled.run(compiled.prepare(parameters, len(prompts_BxP)), prompts_BxP, prompt_lengths_B, keys)


class Generator(NamedTuple):
    """The compiled form of :func:`generate`, for one model, configuration and mesh.

    Attributes:
      prepare: (parameters, rows) -> the parameters in the forms that the loop reads fastest; once for all batches of so many rows.
      run: (prepared, prompts_BxP, prompt_lengths_B, keys) -> Generation.
    """

    prepare: Callable[[Mapping[str, Any], int], "Prepared"]
    run: Callable[["Prepared", Any, Any, Any], Generation]


class Prepared(NamedTuple):
    """Parameters as prefill and as decoding read them (:func:`scaling.models.cache.ready_to_decode`)."""

    for_prefill: Mapping[str, Any]
    for_decoding: Mapping[str, Any]


@functools.lru_cache(maxsize=32)
def generator(model: Transformer, config: SamplingConfig, eos_id: int | None, mesh: Mesh | None = None) -> Generator:
    """Compiles nothing yet: each shape is compiled when it first comes.

    Args:
      model, config, eos_id, mesh: as in :func:`generate`.
    """
    _check_ids(model, config, eos_id)
    program = functools.partial(_generate, model, config, eos_id)
    if mesh is not None and mesh.size > 1:
        return _generator_on_mesh(model, program, mesh)
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform

    @functools.partial(jax.jit, static_argnums=1)
    def prepare(parameters, rows):
        in_blocks = platform == "cpu" and _kernels_in_blocks(config, rows)
        apart = ready_to_decode(model, parameters)
        return Prepared(apart, ready_to_decode(model, parameters, in_blocks=True) if in_blocks else apart)

    return Generator(prepare, jax.jit(program))


def _generator_on_mesh(model: Transformer, program: Callable[..., Generation], mesh: Mesh) -> Generator:
    """Rows go over the mesh, parameters stay where they are, and what is returned can be read on every host."""
    rows = meshes.batch_sharding(mesh)

    def apart_inside(parameters, *rest):
        apart = ready_to_decode(model, parameters)
        return program(Prepared(apart, apart), *rest)

    compiled = jax.jit(meshes.with_rules(mesh, apart_inside), out_shardings=NamedSharding(mesh, PartitionSpec()))

    def run(prepared, prompts_BxP, prompt_lengths_B, keys):
        return compiled(prepared.for_prefill, *jax.device_put((prompts_BxP, prompt_lengths_B, keys), rows))

    return Generator(lambda parameters, rows: Prepared(parameters, parameters), run)


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
    parameters: Prepared,
    prompts_BxP,
    prompt_lengths_B,
    keys,
) -> Generation:
    batch, prompt_slots = prompts_BxP.shape
    if prompt_slots + config.max_new_tokens > model.config.max_length:
        raise ConfigError(
            f"prompts padded to {prompt_slots} and SamplingConfig.max_new_tokens {config.max_new_tokens} exceed the model's max_length "
            f"{model.config.max_length}",
            "shorten the prompts or sample fewer tokens",
        )
    choose_next = functools.partial(choose, config, eos_id, jax.random.wrap_key_data(keys))

    def sample_next(state: State) -> State:
        last_B = state.tokens_MxB[state.step - 1]
        hidden_BxD, cache = decode(model, parameters.for_decoding, state.cache, last_B)
        logits_Bx1xV = model.logits(parameters.for_decoding, hidden_BxD[:, None])
        return choose_next(logits_Bx1xV[:, 0], state._replace(cache=cache))

    hidden_BxPxD, cache = prefill(model, parameters.for_prefill, prompts_BxP, prompt_lengths_B, prompt_slots)
    last_Bx1xD = jnp.take_along_axis(hidden_BxPxD, (prompt_lengths_B - 1)[:, None, None], axis=1)
    logits_Bx1xV = model.logits(parameters.for_prefill, last_Bx1xD)
    state = choose_next(logits_Bx1xV[:, 0], initial_state(config, cache, batch))
    for end in _phases(config.max_new_tokens):

        def keep_going(state: State, end=end):
            return (state.step < end) & ~jnp.all(state.ended_B)

        # The token of the last step is never read, so it needs no slot.
        state = state._replace(cache=grown(state.cache, prompt_slots + end - 1))
        state = jax.lax.while_loop(keep_going, sample_next, state)
    return _right_padded(state, prompts_BxP, prompt_lengths_B)


def _phases(steps: int) -> list[int]:
    """Steps before which the loop stops to enlarge its cache: attention reads all slots, so that early steps should not carry those of late ones."""
    phases = 1 if steps < _FEWEST_STEPS_IN_PHASES else _PHASES
    return [-(-steps * phase // phases) for phase in range(1, phases + 1)]


def _kernels_in_blocks(config: SamplingConfig, rows: int) -> bool:
    """Where the copy pays (measured): one row is a matrix-vector product, which reads kernels as they are, and many rows are not bound by reading them."""
    return 2 <= rows <= _MOST_ROWS_IN_BLOCKS and config.max_new_tokens >= _FEWEST_STEPS_IN_BLOCKS


def _right_padded(state: State, prompts_BxP: jax.Array, prompt_lengths_B: jax.Array) -> Generation:
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
