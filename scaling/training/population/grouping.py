"""Which runs of a list are trained side by side."""

from collections.abc import Hashable, Sequence
from typing import Literal

import jax

from scaling import distributed
from scaling.accounting.parameters import count_parameters
from scaling.errors import BadInputError, ConfigError
from scaling.run_config import RunConfig
from scaling.run_directory import RunDirectory
from scaling.training.population.programs import Form
from scaling.training.step import StepKey

# How many runs of one shape train side by side; 0 and 1: one after the other.
Size = int | Literal["auto"]

# The limits of "auto".
_MEMBERS_PER_DEVICE = 8
_STATE_BYTES_PER_DEVICE = 2**30


def fastest_form(platform: str) -> Form:
    """How the devices of a platform go through their members.

    On CPU the loop trains more tokens for each second of the processor than one run after the other, vmap fewer (LABLOG.md, "Populations on CPU"), and it
    computes the bits of a run alone. On accelerators one small model leaves most of the device idle, which the batched products of vmap fill; that is not
    measured.
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


def automatic_size(config: RunConfig) -> int:
    """The size of a population of such runs under "auto".

    Eight for each device, or as many as keep the states of a device below 1 GiB (16 bytes a parameter: weight, gradient and two moments): models for which
    fewer than two fit are large enough to keep a device busy alone. 1 where a run is spread over devices or processes.
    """
    execution = config.execution
    spread = execution.data not in (-1, 1) or execution.fsdp > 1 or execution.tensor > 1
    if spread or distributed.process_count() > 1:
        return 1
    fitting = _STATE_BYTES_PER_DEVICE // (16 * count_parameters(config.model).total)
    return max(1, min(_MEMBERS_PER_DEVICE, fitting)) * (jax.local_device_count() if fitting > 1 else 1)


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
    return key, automatic_size(config) if size == "auto" else size
