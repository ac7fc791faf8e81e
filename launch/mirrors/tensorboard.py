"""Event files for TensorBoard: `tensorboard --logdir=OUTPUT`."""

import glob
import os
from collections.abc import Mapping

from launch.mirrors.content import RunContent
from launch.mirrors.ledger import Ledger
from launch.mirrors.mirror import Exported
from scaling.mirrors.tensorboard import TensorBoardRun


class TensorBoardMirror:
    """OUTPUT/<sweep>/<run_id>/, with one event file for each export that had something to add."""

    appends = True

    def __init__(self, output: str):
        """Opens the destination.

        Raises:
          OutputError: the destination cannot be written.
        """
        self._output = output
        self._ledger = Ledger(output)

    def exported(self) -> Mapping[str, Exported]:
        """What the ledger says of runs whose folder is still there."""
        return {
            run_id: exported
            for run_id, exported in self._ledger.read().items()
            if os.path.isdir(os.path.join(self._output, exported.place))
        }

    def write(self, content: RunContent, before: Exported | None) -> None:
        """Adds an event file, and removes first what a killed export left of the same file."""
        count = before.count if before else 0
        place = before.place if before else os.path.join(content.group, content.entry.run_id)
        folder, suffix = os.path.join(self._output, place), f".{count:04d}"
        for unfinished in glob.glob(f"{glob.escape(folder)}/events*{suffix}"):
            os.unlink(unfinished)
        events = TensorBoardRun(folder, suffix)
        try:
            if before is None:
                events.text("config.gin", content.config_gin, content.started)
                events.text(
                    "run", "\n".join(f"{key} = {value}" for key, value in _described(content).items()), content.started
                )
            for row in content.rows:
                events.row(row.step, row.values, row.time)
            if content.is_finished and (before is None or before.status != content.entry.status):
                events.settings(_described(content), content.results, content.ended)
        finally:
            events.close()
        step = content.last_step if content.last_step is not None else (before.step if before else -1)
        self._ledger.note(
            content.entry.run_id, Exported(content.entry.stamp, content.entry.status, step, count + 1, place)
        )

    def close(self) -> None:
        """Closes the ledger."""
        self._ledger.close()


def _described(content: RunContent) -> dict[str, bool | int | float | str]:
    return {"name": content.entry.name, "kind": content.entry.kind, **content.settings, **content.lineage}
