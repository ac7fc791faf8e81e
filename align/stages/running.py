"""From a configuration to a finished stage: what the verbs and studies share."""

import os
from typing import Any

from align.stages.catalogue import KINDS
from align.training.stage_directory import StageDirectory, freeze
from scaling.gin_files import Loaded
from scaling.run_directory import Status
from scaling.training.interruption import Interruption


def run(
    kind: str,
    config: Any,
    root: str | os.PathLike[str],
    interruption: Interruption,
    name: str = "",
    loaded: Loaded | None = None,
) -> tuple[StageDirectory, Status]:
    """Freezes a stage and takes it to its record; one that is done already is left as it is.

    Args:
      kind: of `catalogue.KINDS`.
      config: of that kind's dataclass.
      root: the directory that holds stage-two runs.
      interruption: tells it to stop.
      name: a readable name.
      loaded: the configuration's Gin text, for the record.

    Returns:
      its directory, and "completed" or "diverged".

    Raises:
      InterruptedRunError, BadInputError, BusyError: see :func:`align.training.loop.run_stage`.
    """
    spec = KINDS[kind].spec(config, name)
    directory = freeze(root, spec, loaded.bindings if loaded else "", loaded.operative if loaded else "")
    status = KINDS[kind].run(directory, config, interruption)
    return directory, status
