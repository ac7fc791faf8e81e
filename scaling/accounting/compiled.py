"""Bytes per device and portability of the training step, from abstract values: nothing of the model is allocated."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax

from scaling import mesh as meshes
from scaling.accounting.flops import MFU_CONVENTION, MFU_CONVENTION_TEXT, training_flops_per_token
from scaling.accounting.peak import PUBLISHED_PEAKS
from scaling.errors import ConfigError
from scaling.run_config import RunConfig
from scaling.training.step import StepKey, TrainStep, build_train_step

EXPORT_PLATFORMS = ("cpu", "tpu", "cuda", "rocm")


def require_known(accelerator: str, platforms: Sequence[str]) -> None:
    """Refuses names that :func:`expected_time` and :func:`exported_bytes` do not know, before anything is compiled.

    Args:
      accelerator: a device kind, or empty.
      platforms: to export for.

    Raises:
      ConfigError: naming the flag and the choices.
    """
    if accelerator and accelerator not in PUBLISHED_PEAKS:
        raise ConfigError(
            f"--accelerator {accelerator!r} has no published peak here", f"choose among {sorted(PUBLISHED_PEAKS)}"
        )
    for platform in platforms:
        if platform not in EXPORT_PLATFORMS:
            raise ConfigError(f"--export_platforms names {platform!r}", f"choose among {', '.join(EXPORT_PLATFORMS)}")


def abstract_step(config: RunConfig) -> TrainStep:
    """The training step of a run on all (simulated) devices, in the form that accelerators use.

    Raises:
      ConfigError: the mesh does not match the devices, or sizes do not divide over it.
    """
    key = StepKey.of(config)
    if key.execution.layers == "auto":
        key = dataclasses.replace(key, execution=dataclasses.replace(key.execution, layers="scan"))
    return build_train_step(key, meshes.make_mesh(key.execution))


def bytes_per_device(step: TrainStep) -> dict[str, int]:
    """Bytes of one device's memory by use, from shardings (exact) and an ahead-of-time compilation (an estimate elsewhere than on CPU).

    Returns:
      "weights", "optimizer", "gradients" (float32, sharded as the weights), "activations" (every other temporary of the step), "batch", and their
      sum "total". The state is donated, so its update needs no second copy.
    """
    state, batch = step.abstract_state(), step.abstract_batch()
    memory = step.step.lower(state, batch, step.abstract_rates()).compile().memory_analysis()
    weights = _shard_bytes(state.parameters)
    # Temporaries and what is returned but not donated; gradients are part of them, so they are shown apart and not twice.
    temporary = memory.temp_size_in_bytes + max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)
    use = {
        "weights": weights,
        "optimizer": _shard_bytes(state.optimizer),
        "gradients": weights,
        "activations": max(0, temporary - weights),
        "batch": _shard_bytes(batch),
    }
    return use | {"total": sum(use.values())}


def exported_bytes(step: TrainStep, platform: str) -> int:
    """Size of the step's portable StableHLO program for a platform that this machine may not have.

    Args:
      step: see :func:`abstract_step`.
      platform: one of :data:`EXPORT_PLATFORMS`.
    """
    exported = jax.export.export(step.step, platforms=[platform])(
        step.abstract_state(), step.abstract_batch(), step.abstract_rates()
    )
    return len(exported.mlir_module_serialized)


def expected_time(config: RunConfig, devices: int, accelerator: str, utilisation: float) -> dict[str, Any]:
    """Seconds a step and hours of the run at an assumed utilisation of a published peak.

    Args:
      config: the run.
      devices: of the mesh.
      accelerator: a key of :data:`scaling.accounting.peak.PUBLISHED_PEAKS`.
      utilisation: assumed MFU, a fraction.
    """
    published = PUBLISHED_PEAKS[accelerator]
    per_token = training_flops_per_token(config.model, config.data.sequence_length)[MFU_CONVENTION]
    tokens_per_second = devices * published.bfloat16 * utilisation / per_token
    return {
        "accelerator": accelerator,
        "devices": devices,
        "utilisation": utilisation,
        "convention": MFU_CONVENTION_TEXT,
        "peak_source": published.source,
        "seconds_per_step": config.batch_tokens / tokens_per_second,
        "hours": config.tokens / tokens_per_second / 3600,
    }


def _shard_bytes(tree: Any) -> int:
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
