"""The denominators of utilisation: published peaks of accelerators, and the measured matmul peak of this machine's CPU."""

import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from scaling.models.precision import ComputeDtype, product


class PublishedPeak(NamedTuple):
    """Dense peak of one JAX device.

    Attributes:
      bfloat16: FLOP/s, bfloat16 inputs, float32 sums, no structured sparsity.
      source: where the figure is published.
    """

    bfloat16: float
    source: str


# JAX's `device_kind` -> peak. A float32 peak is not given: accelerators reach none of these figures with true float32 products.
PUBLISHED_PEAKS: dict[str, PublishedPeak] = {
    "TPU v4": PublishedPeak(275e12, "cloud.google.com/tpu/docs/v4"),
    "TPU v5 lite": PublishedPeak(197e12, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5e": PublishedPeak(197e12, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5": PublishedPeak(459e12, "cloud.google.com/tpu/docs/v5p"),
    "TPU v5p": PublishedPeak(459e12, "cloud.google.com/tpu/docs/v5p"),
    "TPU v6 lite": PublishedPeak(918e12, "cloud.google.com/tpu/docs/v6e"),
    "TPU v6e": PublishedPeak(918e12, "cloud.google.com/tpu/docs/v6e"),
    "NVIDIA A100-SXM4-40GB": PublishedPeak(312e12, "NVIDIA A100 data sheet"),
    "NVIDIA A100-SXM4-80GB": PublishedPeak(312e12, "NVIDIA A100 data sheet"),
    "NVIDIA H100 80GB HBM3": PublishedPeak(989e12, "NVIDIA H100 data sheet, SXM (half of the figure with sparsity)"),
    "NVIDIA H100 PCIe": PublishedPeak(756e12, "NVIDIA H100 data sheet, PCIe (half of the figure with sparsity)"),
    "NVIDIA H200": PublishedPeak(989e12, "NVIDIA H200 data sheet, SXM (half of the figure with sparsity)"),
}

# Large enough to amortise the call, small enough to stay in cache and to take milliseconds.
_MATRIX = 1024
_REPETITIONS = 10


def peak_flops(compute_dtype: ComputeDtype) -> float | None:
    """Peak FLOP/s of all devices of the run together, or None where none is known.

    Accelerators: the published figure times the devices, for bfloat16 only. CPU: measured once per process and taken
    times the processes; simulated host devices share the cores and count once.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return measured_matmul_peak(compute_dtype) * jax.process_count()
    published = PUBLISHED_PEAKS.get(device.device_kind)
    if published is None or compute_dtype != "bfloat16":
        return None
    return published.bfloat16 * jax.device_count()


@functools.lru_cache
def measured_matmul_peak(compute_dtype: ComputeDtype) -> float:
    """The best FLOP/s of a square product on one device, inputs in the compute dtype and sums in float32 (about 0.2 s).

    On a machine with other load it comes out low, and utilisation high.
    """
    # Called at the start of runs that forbid implicit transfers; the seed is one.
    with jax.transfer_guard("allow"):
        device = jax.local_devices()[0]
        matrix = jax.device_put(jnp.ones((_MATRIX, _MATRIX), compute_dtype), device)
        multiply = jax.jit(lambda a, b: product("ij,jk->ik", a, b, compute_dtype))
        multiply(matrix, matrix).block_until_ready()
        seconds = []
        for _ in range(_REPETITIONS):
            start = time.perf_counter()
            multiply(matrix, matrix).block_until_ready()
            seconds.append(time.perf_counter() - start)
    return 2 * _MATRIX**3 / min(seconds)
