"""What can be asked for: TPU slices and nodes of GPUs, in SkyPilot's words."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Generation:
    """A TPU of Google's, as slices of it are named and made.

    Attributes:
      accelerator: SkyPilot's name of a slice, without its size.
      runtime: image of its virtual machines. SkyPilot's own default for every v5 is that of v5p, so it is always given.
      gke: name of the slice in a Kubernetes cluster of Google's.
      cores_per_chip: by which the size in a name counts.
      host_chips: the most chips of one host.
      slices: sizes in chips that are on offer.
    """

    accelerator: str
    runtime: str
    gke: str
    cores_per_chip: int
    host_chips: int
    slices: tuple[int, ...]


_TO_256 = (1, 4, 8, 16, 32, 64, 128, 256)

# cloud.google.com/tpu/docs: v5e, v6e, v5p (configurations) and runtimes (runtime versions).
GENERATIONS: Mapping[str, Generation] = {
    "v5e": Generation("tpu-v5litepod", "v2-alpha-tpuv5-lite", "tpu-v5-lite-podslice", 1, 8, _TO_256),
    "v6e": Generation("tpu-v6e", "v2-alpha-tpuv6e", "tpu-v6e-slice", 1, 8, _TO_256),
    "v5p": Generation("tpu-v5p", "v2-alpha-tpuv5", "tpu-v5p-slice", 2, 4, (4, 8, 16, 32, 64, 128, 256, 512, 1024)),
}


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What one worker is made of.

    Attributes:
      name: as the user writes it.
      accelerators: SkyPilot's `accelerators`.
      arguments: SkyPilot's `accelerator_args`.
      chips: accelerators of all hosts of a worker.
      hosts: machines of a worker, as far as it matters: one, or several that train one run together.
      nodes: SkyPilot's `num_nodes`: a TPU slice is one node, however many hosts it has.
      extra: of JAX, which brings the accelerator's libraries.
      generation: the key of a TPU's price; empty for GPUs.
    """

    name: str
    accelerators: str
    arguments: Mapping[str, str | bool]
    chips: int
    hosts: Literal["one", "several"]
    nodes: int
    extra: Literal["tpu", "cuda13"]
    generation: str = ""


def find(name: str, nodes: int, kubernetes: bool) -> Hardware:
    """The hardware of a name: `v5e-8`, `v6e-16`, `v5p-16` (cores, as Google counts: 8 chips), or GPUs as `H100:8`.

    Args:
      name: of a TPU slice or of the GPUs of one node.
      nodes: machines with such GPUs that work together; 1 for TPU slices, which know their hosts.
      kubernetes: whether it is to come from a cluster.

    Raises:
      ConfigError: there is no such thing, or not there.
    """
    gpus = re.fullmatch(r"([A-Z][A-Za-z0-9-]*):(\d+)", name)
    if gpus:
        count = int(gpus[2])
        return Hardware(name, name, {}, count * nodes, "several" if nodes > 1 else "one", nodes, "cuda13")
    slice_name = re.fullmatch(r"(v\d+[a-z])-(\d+)", name)
    generation = GENERATIONS.get(slice_name[1]) if slice_name else None
    if generation is None:
        raise ConfigError(
            f"SkyEngine.hardware is {name!r}",
            f"name a slice of {', '.join(GENERATIONS)} such as v5e-8, or GPUs as H100:8",
        )
    if nodes != 1:
        raise ConfigError(
            f"SkyEngine.nodes is {nodes} for {name}", "leave it at 1: the slice's size says how many hosts it has"
        )
    return _slice(name, slice_name[1], generation, int(slice_name[2]), kubernetes)


def _slice(name: str, key: str, generation: Generation, size: int, kubernetes: bool) -> Hardware:
    chips, rest = divmod(size, generation.cores_per_chip)
    if rest or chips not in generation.slices:
        sizes = ", ".join(f"{key}-{count * generation.cores_per_chip}" for count in generation.slices)
        raise ConfigError(f"SkyEngine.hardware is {name!r}, which is not on offer", f"choose among {sizes}")
    hosts = "one" if chips <= generation.host_chips else "several"
    if not kubernetes:
        accelerator, arguments = f"{generation.accelerator}-{size}", {"runtime_version": generation.runtime}
    elif hosts == "one":
        accelerator, arguments = f"{generation.gke}:{chips}", {}
    else:
        raise ConfigError(
            f"{name} has several hosts, which SkyPilot does not start in a Kubernetes cluster",
            'set SkyEngine.infra to "gcp", or take a slice of one host',
        )
    return Hardware(name, accelerator, arguments, chips, hosts, 1, "tpu", key)
