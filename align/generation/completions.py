"""Completions of many prompts of ragged lengths: few compiled shapes, rows in the order in which they were asked for."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from align.generation.sampler import Generation, generator, row_keys
from align.generation.sampling_config import SamplingConfig
from align.sequences import Sequences
from scaling.errors import ConfigError, DataError
from scaling.models.transformer import Transformer

# The narrowest padded prompt; wider ones double, so that a job compiles a handful of programs.
_NARROWEST = 16

# Examples that an error names.
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Rows that one call of the compiled program completes.

    Attributes:
      width: their padded prompts.
      rows: their places in the result.
    """

    width: int
    rows: np.ndarray


def complete(
    model: Transformer,
    parameters: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    config: SamplingConfig,
    eos_id: int | None,
    seed: int,
    samples: int = 1,
    batch_size: int = 64,
    mesh: Mesh | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Generation:
    """Samples completions of every prompt, in host memory.

    A row depends on the parameters, the seed, its prompt, its prompt's number and its sample's number. The other prompts do not touch it: its padded
    width follows from its own length, and every call has `batch_size` rows.

    Args:
      model: the architecture.
      parameters: its parameters, on the mesh where there is one.
      prompts: token ids; at least one each.
      config: how to sample.
      eos_id: ends a completion; None where only stop sequences and the length do.
      seed: of the whole job.
      samples: completions of each prompt.
      batch_size: rows of one compiled call.
      mesh: the devices; None for one.
      on_batch: called after each batch with the rows done and the rows in all.

    Returns:
      NumPy arrays with `len(prompts) * samples` rows, those of one prompt together. The width is that of the longest prompt and `max_new_tokens`.

    Raises:
      ConfigError: sizes that cannot run.
      DataError: prompts that are empty, too long or hold ids outside the vocabulary; it counts and names them.
    """
    if samples < 1 or batch_size < 1:
        raise ConfigError(f"samples {samples} and batch_size {batch_size}", "give positive numbers")
    if mesh is not None and batch_size % (parts := mesh.shape["data"] * mesh.shape["fsdp"]):
        raise ConfigError(
            f"a generation batch of {batch_size} rows is not a multiple of data * fsdp ({parts})",
            f"make it a multiple of {parts}, or use fewer devices",
        )
    _check_prompts(prompts, model, config)
    compiled = generator(model, config, eos_id, mesh)
    prepared = compiled.prepare(parameters, batch_size)
    keys = np.asarray(row_keys(seed, *np.divmod(np.arange(len(prompts) * samples), samples)))
    lengths = np.repeat(np.asarray([len(prompt) for prompt in prompts], np.int32), samples)
    longest = model.config.max_length - config.max_new_tokens
    result = _empty(len(lengths), int(lengths.max(initial=1)) + config.max_new_tokens)
    done = 0
    for batch in _batches(lengths, batch_size, longest):
        # The last rows of a partial batch repeat, so that they end when the others do.
        rows = np.resize(batch.rows, batch_size) if len(batch.rows) < batch_size else batch.rows
        padded = np.zeros((batch_size, batch.width), np.int32)
        for place, row in enumerate(rows):
            padded[place, : lengths[row]] = prompts[row // samples]
        _store(result, batch.rows, jax.device_get(compiled.run(prepared, padded, lengths[rows], keys[rows])))
        done += len(batch.rows)
        if on_batch is not None:
            on_batch(done, len(lengths))
    return result


def padded_width(length: int, longest: int) -> int:
    """The width that a prompt of this length is padded to: a power of two, at least 16 and at most `longest`, the longest prompt that fits the model."""
    return min(max(_NARROWEST, 1 << (length - 1).bit_length()), longest)


def _check_prompts(prompts: Sequence[Sequence[int]], model: Transformer, config: SamplingConfig) -> None:
    longest = model.config.max_length - config.max_new_tokens
    if longest < 1:
        raise ConfigError(
            f"SamplingConfig.max_new_tokens ({config.max_new_tokens}) leaves no room for a prompt in the model's max_length "
            f"({model.config.max_length})",
            "sample fewer tokens",
        )
    _refuse([index for index, prompt in enumerate(prompts) if not len(prompt)], "are empty", "drop them")
    _refuse(
        [index for index, prompt in enumerate(prompts) if len(prompt) > longest],
        f"are longer than {longest} tokens, which leaves no room for {config.max_new_tokens} more in a context of {model.config.max_length}",
        "shorten or drop them, or lower SamplingConfig.max_new_tokens",
    )
    vocab_size = model.config.vocab_size
    _refuse(
        [index for index, prompt in enumerate(prompts) if min(prompt) < 0 or max(prompt) >= vocab_size],
        f"hold token ids outside the model's vocabulary of {vocab_size}",
        "tokenise them with the checkpoint's own vocabulary",
    )


def _refuse(numbers: list[int], fault: str, remedy: str) -> None:
    if numbers:
        shown = ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if len(numbers) > _SHOWN else "")
        raise DataError(f"{len(numbers)} prompt(s) {fault} (numbers {shown})", remedy)


def _batches(lengths: np.ndarray, batch_size: int, longest: int) -> list[_Batch]:
    """Rows of one padded width together, in their order."""
    widths = np.asarray([padded_width(int(length), longest) for length in lengths], np.int64)
    batches = []
    for width in np.unique(widths):
        rows = np.flatnonzero(widths == width)
        batches += [_Batch(int(width), rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    return batches


def _empty(rows: int, width: int) -> Generation:
    return Generation(
        Sequences(np.zeros((rows, width), np.int32), np.zeros(rows, np.int32), np.zeros(rows, np.int32)),
        np.zeros((rows, width), np.float32),
        np.zeros((rows, width), np.float32),
        np.zeros(rows, bool),
    )


def _store(result: Generation, rows: np.ndarray, part: Generation) -> None:
    """Puts the rows of a batch in their places; columns beyond either width hold padding alone."""

    def put(whole: np.ndarray, values: np.ndarray) -> None:
        values = values[: len(rows)]
        if whole.ndim == 1:
            whole[rows] = values
        else:
            width = min(whole.shape[1], values.shape[1])
            whole[rows, :width] = values[:, :width]

    jax.tree.map(put, result, part)
