"""Bytes per device and seconds a step of a planned stage."""

import math
from typing import Any

import jax

from align.accounting import planned_work
from align.accounting.bandwidth import PUBLISHED_BANDWIDTHS
from align.accounting.passes import total
from align.accounting.planned_stages import Planned
from align.accounting.work import Work
from scaling.accounting.flops import MFU_CONVENTION, MFU_CONVENTION_TEXT
from scaling.accounting.parameters import count_parameters
from scaling.accounting.peak import PUBLISHED_PEAKS
from scaling.models.config import TransformerConfig

_BYTES = {"float32": 4, "bfloat16": 2}


def bytes_per_device(kind: str, config: Any, model: TransformerConfig, stage: Planned) -> dict[str, Any]:
    """Bytes of one device's memory by use, in the manner of :func:`scaling.accounting.compiled.bytes_per_device`.

    What is resident comes from shardings and is exact. Temporaries are those of XLA's programs, compiled ahead of time for CPU devices, of which one runs at
    a time; gradients are among them and shown apart. Every model is kept in float32.

    Args:
      kind: of the stage.
      config: of the stage.
      model: the architecture.
      stage: the stage over shapes.

    Returns:
      resident uses; "gradients" and "activations", which are the temporaries of the program that needs most; "total"; and, as parts of what is counted
      above, "programs" (temporaries by program), "logits" (float32, of one micro-batch) and "key_value_cache".
    """
    resident = {use: shard_bytes(tree) for use, tree in stage.resident.items() if jax.tree.leaves(tree)}
    programs = {name: _temporary(lowered) for name, lowered in stage.programs.items()}
    gradients, most = shard_bytes(stage.trained), max(programs.values())
    uses = resident | {"gradients": gradients, "activations": max(0, most - gradients)}
    shards = _batch_shards(stage) * stage.policy.mesh.shape["tensor"]
    logits = planned_work.largest_logits(kind, config, planned_work.STEPS[kind](config, model))
    parts = {"programs": programs, "logits": int(logits / shards * 4)}
    if kind == "ppo":
        parts["key_value_cache"] = int(_cache_bytes(config, model) / shards)
    return uses | {"total": sum(uses.values())} | parts


def expected_time(
    kind: str, config: Any, model: TransformerConfig, devices: int, tensor: int, accelerator: str, utilisation: float
) -> dict[str, Any]:
    """Seconds of a step at an assumed utilisation of a published peak, and of decoding by the memory's bandwidth.

    Args:
      kind: of the stage.
      config: of the stage.
      model: the architecture.
      devices: of the mesh.
      tensor: of them, those that share every product; all weights pass through the memory of each such group in every step of decoding.
      accelerator: a key of PUBLISHED_PEAKS.
      utilisation: assumed MFU, a fraction.
    """
    work = planned_work.STEPS[kind](config, model)
    peak = devices * PUBLISHED_PEAKS[accelerator].bfloat16 * utilisation
    seconds = {"training": total(work.training)[MFU_CONVENTION] / peak}
    if work.generation:
        seconds["generation"] = _generation_seconds(config, model, work, devices, tensor, accelerator, peak)
    result = {
        "accelerator": accelerator,
        "devices": devices,
        "utilisation": utilisation,
        "convention": MFU_CONVENTION_TEXT,
        "peak_source": PUBLISHED_PEAKS[accelerator].source,
        "seconds_per_step": sum(seconds.values()),
        "seconds": seconds,
    }
    if work.preparation:
        result["preparation_seconds_per_batch"] = total(work.preparation)[MFU_CONVENTION] / peak
    return result


def shard_bytes(tree: Any) -> int:
    """Bytes of one device's part of a tree."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _temporary(lowered: jax.stages.Lowered) -> int:
    """Temporaries and what is returned without being donated."""
    memory = lowered.compile().memory_analysis()
    return memory.temp_size_in_bytes + max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)


def _batch_shards(stage: Planned) -> int:
    return stage.policy.mesh.shape["data"] * stage.policy.mesh.shape["fsdp"]


def _cache_bytes(config: Any, model: TransformerConfig) -> float:
    """Keys and values of a whole rollout when its last token is drawn."""
    slots = config.data.length - 1
    numbers = 2 * model.depth * config.training.batch_size * model.kv_heads * slots * model.head_dim
    return numbers * _BYTES[config.training.compute_dtype]


def _generation_seconds(config, model, work: Work, devices: int, tensor: int, accelerator: str, peak: float) -> float:
    """A step of decoding takes the longer of its arithmetic and of reading the weights (in the compute type) and half of the full cache.

    A lower bound: weights that fsdp splits also cross the network, which is left out.
    """
    bandwidth = PUBLISHED_BANDWIDTHS[accelerator].bytes_per_second
    prefill, decoding = (total([each])[MFU_CONVENTION] / peak for each in work.generation)
    steps = config.data.completion_length - 1
    weights = count_parameters(model).total * _BYTES[config.training.compute_dtype] / tensor
    reading = steps * (weights + _cache_bytes(config, model) / devices / 2) / bandwidth
    return prefill + max(decoding, reading)
