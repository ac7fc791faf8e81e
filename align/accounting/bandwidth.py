"""How fast accelerators read their own memory: what bounds decoding, where every step reads all weights for one token a row."""

from typing import NamedTuple


class PublishedBandwidth(NamedTuple):
    """Peak bandwidth of one JAX device's memory.

    Attributes:
      bytes_per_second: as published.
      source: where.
    """

    bytes_per_second: float
    source: str


# JAX's `device_kind` -> bandwidth; the kinds of scaling.accounting.peak.PUBLISHED_PEAKS.
PUBLISHED_BANDWIDTHS: dict[str, PublishedBandwidth] = {
    "TPU v4": PublishedBandwidth(1228e9, "cloud.google.com/tpu/docs/v4"),
    "TPU v5 lite": PublishedBandwidth(819e9, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5e": PublishedBandwidth(819e9, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5": PublishedBandwidth(2765e9, "cloud.google.com/tpu/docs/v5p"),
    "TPU v5p": PublishedBandwidth(2765e9, "cloud.google.com/tpu/docs/v5p"),
    "TPU v6 lite": PublishedBandwidth(1640e9, "cloud.google.com/tpu/docs/v6e"),
    "TPU v6e": PublishedBandwidth(1640e9, "cloud.google.com/tpu/docs/v6e"),
    "NVIDIA A100-SXM4-40GB": PublishedBandwidth(1555e9, "NVIDIA A100 data sheet"),
    "NVIDIA A100-SXM4-80GB": PublishedBandwidth(2039e9, "NVIDIA A100 data sheet"),
    "NVIDIA H100 80GB HBM3": PublishedBandwidth(3350e9, "NVIDIA H100 data sheet, SXM"),
    "NVIDIA H100 PCIe": PublishedBandwidth(2000e9, "NVIDIA H100 data sheet, PCIe"),
    "NVIDIA H200": PublishedBandwidth(4800e9, "NVIDIA H200 data sheet"),
}
