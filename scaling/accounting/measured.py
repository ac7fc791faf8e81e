"""XLA's own count of a training step's FLOPs."""

import dataclasses
import functools

import jax

from scaling import mesh as meshes
from scaling.training.step import StepKey, TrainStep, build_train_step


def flops_per_token(train_step: TrainStep) -> float | None:
    """FLOPs that XLA counts in one whole training step, optimizer included, per token; see :func:`counted_flops_per_token`."""
    return counted_flops_per_token(train_step.key)


@functools.lru_cache
def counted_flops_per_token(key: StepKey) -> float | None:
    """XLA's count for the step of a key, lowered for one device and not compiled; None on a backend that does not count.

    The cost analysis counts the body of a loop once, whatever its trip count, so the step is lowered unrolled and without accumulation. Layers
    are alike: one and two layers are lowered, and the difference is added for every further one. Chunked attention and rematerialisation are
    counted as configured: this is what the run computes, unlike the conventions of :mod:`scaling.accounting.flops`.
    """
    one, two = (_step_flops(key, depth) for depth in (1, 2))
    if one is None or two is None:
        return None
    return (one + (key.model.depth - 1) * (two - one)) / (key.batch_size * key.sequence_length)


def _step_flops(key: StepKey, depth: int) -> float | None:
    execution = dataclasses.replace(key.execution, data=1, fsdp=1, tensor=1, accumulation=1, layers="unroll")
    shallow = dataclasses.replace(key, model=dataclasses.replace(key.model, depth=depth), execution=execution)
    step = build_train_step(shallow, meshes.make_mesh(execution, jax.devices()[:1]))
    lowered = step.step.lower(step.abstract_state(), step.abstract_batch(), step.abstract_rates())
    return (lowered.cost_analysis() or {}).get("flops")
