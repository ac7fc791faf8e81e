"""TensorBoard event files, written by tensorboardX, which loads no TensorFlow."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from scaling.extras import require

_USER = "a mirror in TensorBoard"


class TensorBoardRun:
    """One event file of one run."""

    def __init__(self, folder: str | os.PathLike[str], suffix: str = ""):
        """Opens a new event file in `folder`, which is made if need be.

        Args:
          folder: of the run; TensorBoard shows its path below --logdir as the run's name.
          suffix: ends the file's name, so that files made within a second are distinct.

        Raises:
          ConfigError: tensorboardX is not installed.
        """
        # The writer itself and not SummaryWriter, which keeps a thread and an exit handler for each run until the process ends.
        self._events = require("tensorboardX.event_file_writer", _USER)
        self._protocol = require("tensorboardX.proto.event_pb2", _USER)
        self._summaries = require("tensorboardX.summary", _USER)
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        self._writer = self._events.EventsWriter(os.path.join(folder, "events"), suffix)

    def row(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Adds scalars of one step.

        Args:
          step: of the run.
          values: by name; slashes group the plots.
          time: when they were measured, seconds since 1970.
        """
        for name, value in values.items():
            self._add(self._summaries.scalar(name, value), step, time)

    def text(self, name: str, content: str, time: float) -> None:
        """Adds a text, shown as it is."""
        indented = "\n".join(f"    {line}" for line in content.splitlines())
        self._add(self._summaries.text(name, indented), 0, time)

    def settings(self, settings: Mapping[str, Any], results: Mapping[str, float], time: float) -> None:
        """Adds the run to the table of hyper-parameters.

        Args:
          settings: its columns to choose and sort by.
          results: scalars of this run that the table shows, and their values.
          time: when they were measured, seconds since 1970.
        """
        for summary in self._summaries.hparams(dict(settings), dict(results)):
            self._add(summary, 0, time)
        self.row(0, results, time)

    def flush(self) -> None:
        """Brings what was added to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()

    def _add(self, summary: Any, step: int, time: float) -> None:
        self._writer.write_event(self._protocol.Event(wall_time=time, step=step, summary=summary))
