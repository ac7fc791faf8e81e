"""Which runs of a list are trained side by side."""

from collections.abc import Hashable, Sequence
from typing import Literal

import jax

from scaling import distributed
from scaling.errors import BadInputError, ConfigError
from scaling.run_config import ExecutionConfig
from scaling.run_directory import RunDirectory
from scaling.training.population.programs import Form
from scaling.training.step import StepKey

# How many runs of one shape train side by side; 0 and 1: one after the other.
Size = int | Literal["auto"]

# Members for each device under "auto".
_MEMBERS_PER_DEVICE = 8


def fastest_form(platform: str) -> Form:
    """How the devices of a platform go through their members.

    On CPU the loop trains 1.3 to 1.6 times as many tokens a second as vmap does, and computes the bits of a run alone (LABLOG.md, "Populations on CPU"). On
    accelerators one small model leaves most of the device idle, which the batched products of vmap fill; there this is not measured here.
    """
    return "map" if platform == "cpu" else "vmap"


def grouped(directories: Sequence[RunDirectory], size: Size) -> list[list[RunDirectory]]:
    """Cuts runs into populations, in the order of their first members; a list of one run is trained alone.

    Runs are alike, and may share a population, when only seed, schedule (with its rate) and weight decay tell them apart: same compiled step,
    texts, kind and horizon.
    What cannot be read and what is recorded already stays alone.

    Args:
      directories: of frozen runs.
      size: at most so many runs in a population. "auto": :func:`automatic_size`.

    Raises:
      ConfigError: a population is asked for in a run of several processes.
    """
    if size != "auto" and size > 1 and distributed.process_count() > 1:
        raise ConfigError(
            f"--population={size} in a run of {distributed.process_count()} processes",
            "a population trains in one process; leave the flag out",
        )
    populations: list[list[RunDirectory]] = []
    growing: dict[Hashable, list[RunDirectory]] = {}
    for directory in directories:
        key, limit = _likeness(directory, size)
        group = growing.get(key)
        if group is None or len(group) >= limit:
            group = []
            populations.append(group)
            growing[key] = group
        group.append(directory)
    return populations


def automatic_size(execution: ExecutionConfig) -> int:
    """The size under "auto": 1 (one after the other) on CPU, where side by side gains nothing, and where a run is spread over devices or processes.

    Otherwise eight runs for each device, which is enough to fill it with models that need populations at all.
    """
    devices = jax.local_devices()
    alone = execution.data not in (-1, 1) or execution.fsdp > 1 or execution.tensor > 1
    if devices[0].platform == "cpu" or alone or distributed.process_count() > 1:
        return 1
    return _MEMBERS_PER_DEVICE * len(devices)


def _likeness(directory: RunDirectory, size: Size) -> tuple[Hashable, int]:
    """What members of a population have in common, and how many of them there may be."""
    alone = (directory.path, 1)
    if size != "auto" and size < 2:
        return alone
    try:
        if directory.record() is not None:
            return alone
        spec = directory.spec
    except (BadInputError, OSError):
        return alone
    config = spec.config
    key = (
        spec.kind,
        spec.stores,
        StepKey.of(config),
        config.data,
        config.evaluation,
        spec.first_step,
        spec.last_step,
    )
    return key, automatic_size(config.execution) if size == "auto" else size
