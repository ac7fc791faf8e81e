"""Slots: shares of this machine, each with its own devices, so that a job in one never touches those of another.

The variables of a TPU slot are those with which JAX's own multi-process tests run one process on some chips of an eight-chip host; libtpu knows the
bounds of 1, 4 and 8 chips only, and each process needs a port of its own.
"""

import dataclasses
import glob
import os
from collections.abc import Mapping, Sequence
from typing import Literal

from scaling.errors import ConfigError

Accelerator = Literal["cpu", "cuda", "tpu"]

_TPU_BOUNDS = {1: "1,1,1", 4: "2,2,1", 8: "2,4,1"}
_FIRST_TPU_PORT = 8476


@dataclasses.dataclass(frozen=True)
class Slot:
    """One share of the machine.

    Attributes:
      index: from 0.
      cores: the CPU cores that a job is pinned to; empty leaves all of them.
      variables: environment variables that show a job its devices alone.
    """

    index: int
    cores: tuple[int, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)


def accelerator_of_machine() -> Accelerator:
    """What JAX would use here; looks at device files and variables, imports nothing."""
    platforms = os.environ.get("JAX_PLATFORMS", "").split(",")
    if platforms == ["cpu"]:
        return "cpu"
    # An empty mask, or "-1", hides all GPUs, and JAX then uses the CPU.
    if glob.glob("/dev/nvidia[0-9]*") and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        return "cuda"
    if glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*"):
        return "tpu"
    return "cpu"


def devices_of_machine(accelerator: Accelerator) -> tuple[str, ...]:
    """Names of the devices that this process may use: cores, or chips in the order in which a mask counts them."""
    if accelerator == "cpu":
        return tuple(map(str, available_cores()))
    mask = os.environ.get("CUDA_VISIBLE_DEVICES" if accelerator == "cuda" else "TPU_VISIBLE_CHIPS")
    if mask is not None:
        return tuple(name for name in mask.split(",") if name)
    patterns = ["/dev/nvidia[0-9]*"] if accelerator == "cuda" else ["/dev/accel[0-9]*", "/dev/vfio/[0-9]*"]
    return tuple(map(str, range(sum(len(glob.glob(pattern)) for pattern in patterns))))


def available_cores() -> list[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_slots(accelerator: Accelerator, devices: int, chips_per_slot: int) -> int:
    """As many as there are devices for; on a CPU one for each core: two pinned processes train 28% more tokens/s than one on two cores."""
    return max(1, devices if accelerator == "cpu" else devices // chips_per_slot)


def make_slots(count: int, accelerator: Accelerator, devices: Sequence[str], chips_per_slot: int) -> tuple[Slot, ...]:
    """Shares the devices out.

    Args:
      count: slots.
      accelerator: what the devices are.
      devices: their names, as :func:`devices_of_machine` gives them.
      chips_per_slot: chips for each; does not matter on a CPU, where cores are shared evenly, in turn where there are fewer cores than slots.

    Raises:
      ConfigError: there are too few chips, or no mask of so many chips is known.
    """
    if accelerator == "cpu":
        cores = [int(name) for name in devices]
        return tuple(Slot(index, tuple(cores_of_slot(index, count, cores))) for index in range(count))
    if count * chips_per_slot > len(devices):
        raise ConfigError(
            f"{count} slots of {chips_per_slot} chips need {count * chips_per_slot} {accelerator} devices, and this machine shows {len(devices)}",
            "lower --slots or --chips_per_slot",
        )
    chips = [devices[index * chips_per_slot : (index + 1) * chips_per_slot] for index in range(count)]
    if accelerator == "cuda":
        return tuple(Slot(index, (), {"CUDA_VISIBLE_DEVICES": ",".join(share)}) for index, share in enumerate(chips))
    return tuple(Slot(index, (), _tpu_variables(index, share)) for index, share in enumerate(chips))


def cores_of_slot(slot: int, slots: int, cores: Sequence[int]) -> list[int]:
    """The cores of one slot: an even share, or one core in turn where there are more slots than cores."""
    if slots >= len(cores):
        return [cores[slot % len(cores)]]
    return list(cores[slot * len(cores) // slots : (slot + 1) * len(cores) // slots])


def _tpu_variables(index: int, chips: Sequence[str]) -> dict[str, str]:
    if len(chips) not in _TPU_BOUNDS:
        raise ConfigError(
            f"--chips_per_slot is {len(chips)}, and libtpu can be shown {', '.join(map(str, _TPU_BOUNDS))} chips of a host",
            "choose one of these",
        )
    port = str(_FIRST_TPU_PORT + index)
    return {
        "TPU_VISIBLE_CHIPS": ",".join(chips),
        "TPU_CHIPS_PER_PROCESS_BOUNDS": _TPU_BOUNDS[len(chips)],
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_ADDRESSES": f"localhost:{port}",
        "TPU_PROCESS_PORT": port,
        "CLOUD_TPU_TASK_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
