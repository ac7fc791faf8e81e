"""Runs of Weights & Biases: directories for `wandb sync`, or sent at once."""

import os
import shutil
from collections.abc import Mapping

from launch.mirrors.content import RunContent
from launch.mirrors.ledger import Ledger
from launch.mirrors.mirror import Exported
from scaling.mirrors.weights_and_biases import Identity, Mode, WandbRun

# Hosts of the service refuse longer ones.
_LONGEST_TAG = 64


class WandbMirror:
    """OUTPUT/wandb/offline-run-DATE-ID/ for each run, or rows sent to the service."""

    def __init__(self, output: str, *, mode: Mode, project: str, entity: str = ""):
        """Opens the destination.

        Raises:
          OutputError: the destination cannot be written.
        """
        # Of two offline directories with one id, `wandb sync` lets the second replace the first; so a directory always holds the whole run.
        self.appends = mode == "online"
        self._output, self._mode, self._project, self._entity = output, mode, project, entity
        self._ledger = Ledger(output)

    def exported(self) -> Mapping[str, Exported]:
        """What the ledger says; offline, of runs whose directory is still there."""
        found = self._ledger.read()
        if self._mode == "online":
            return {run_id: exported for run_id, exported in found.items() if exported.place == self._service}
        return {run_id: exported for run_id, exported in found.items() if self._is_there(exported.place)}

    def write(self, content: RunContent, before: Exported | None) -> None:
        """Sends the new rows, or writes the run anew and removes its earlier directories."""
        run_id = content.entry.run_id
        old = self._directories(run_id) if self._mode == "offline" else []
        run = WandbRun(
            _identity(content), mode=self._mode, project=self._project, entity=self._entity, folder=self._output
        )
        for row in content.rows:
            run.row(row.step, row.values, row.time)
        run.close({"status": content.entry.status, **content.results}, failed=content.entry.status == "failed")
        for directory in old:
            shutil.rmtree(directory)
        place = self._service if self._mode == "online" else os.path.relpath(run.folder, self._output)
        step = content.last_step if content.last_step is not None else (before.step if before else -1)
        done = Exported(content.entry.stamp, content.entry.status, step, (before.count if before else 0) + 1, place)
        self._ledger.note(run_id, done)

    def close(self) -> None:
        """Closes the ledger."""
        self._ledger.close()

    @property
    def _service(self) -> str:
        return f"{self._entity}/{self._project}"

    def _is_there(self, place: str) -> bool:
        return os.path.basename(place).startswith("offline-run-") and os.path.isdir(os.path.join(self._output, place))

    def _directories(self, run_id: str) -> list[str]:
        """Directories of a run, of a killed export too."""
        folder = os.path.join(self._output, "wandb")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return [
            os.path.join(folder, name)
            for name in names
            if name.startswith("offline-run-") and name.endswith(f"-{run_id}")
        ]


def _identity(content: RunContent) -> Identity:
    entry = content.entry
    tags = tuple(f"{name}={value}"[:_LONGEST_TAG] for name, value in entry.tags.items())
    config = {**content.settings, "lineage": dict(content.lineage)}
    return Identity(entry.run_id, entry.name, content.group, entry.kind, tags, config)
