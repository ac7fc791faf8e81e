"""The engines of this machine: `local`, which fills all its slots at once, and `serial`, which runs one job after another.

Both start one `launch.worker`, which lives as long as the command that submitted to it: when that is killed, the kernel tells the worker, which
lets its trainers save.
"""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import ClassVar, Literal

from launch import processes
from launch.engines.engine import Job, Submission
from launch.engines.local import slots as sharing
from launch.jobs import makespan
from scaling import run_directory
from scaling.errors import ConfigError

# Kept so that workers of this process are collected when they end.
_WORKERS: dict[str, subprocess.Popen] = {}


@dataclasses.dataclass(frozen=True)
class LocalEngine:
    """Runs jobs in slots of this machine, through Dask's `distributed`.

    Attributes:
      places: slots; 0 is one for each core, or one for each `chips_per_slot` chips.
      chips_per_slot: chips that a slot shows its job.
      accelerator: what slots are made of; "auto" looks at the machine.
      chips: how many chips there are; 0 counts them.
      retries: how often a run is tried again after a crash.
      backoff_seconds: pause before the first of these; each next one is twice as long.
      grace_seconds: how long trainers may take to save at the end, before they are killed.
      price_per_hour: of this machine, for predicted costs; 0 is unknown.
    """

    places: int = 0
    chips_per_slot: int = 1
    accelerator: Literal["auto", "cpu", "cuda", "tpu"] = "auto"
    chips: int = 0
    retries: int = 2
    backoff_seconds: float = 1.0
    grace_seconds: float = 300.0
    price_per_hour: float = 0.0

    name: ClassVar[str] = "local"
    reads_buckets: ClassVar[bool] = False

    def __post_init__(self):
        for field in ("places", "chips", "retries", "backoff_seconds", "grace_seconds", "price_per_hour"):
            if getattr(self, field) < 0:
                raise ConfigError(f"{type(self).__name__}.{field} is {getattr(self, field)!r}", "give 0 or more")
        if self.chips_per_slot < 1:
            raise ConfigError(f"{type(self).__name__}.chips_per_slot is {self.chips_per_slot!r}", "give at least 1")

    @property
    def slots(self) -> int:
        """Jobs at a time."""
        accelerator, devices = self._devices()
        return self.places or sharing.default_slots(accelerator, len(devices), self.chips_per_slot)

    def make_slots(self) -> tuple[sharing.Slot, ...]:
        """The slots with their masks.

        Raises:
          ConfigError: the machine shows too few chips, or no mask of so many is known.
        """
        accelerator, devices = self._devices()
        return sharing.make_slots(self.slots, accelerator, devices, self.chips_per_slot)

    def check(self, root: str) -> None:
        """Looks whether the slots can be made.

        Raises:
          ConfigError: they cannot, the root is in a bucket, or Dask is not installed.
        """
        self._require_disk(root)
        self.make_slots()
        if self.name == LocalEngine.name and importlib.util.find_spec("distributed") is None:
            raise ConfigError(
                "the local engine needs distributed, which is not installed",
                "pip install --no-deps -r requirements.lock, or use --engine=serial",
            )

    def plan(self, jobs: Sequence[Job], sweep_id: str, root: str) -> Submission:
        """See :class:`launch.engines.engine.Engine`."""
        self._require_disk(root)
        seconds = makespan(jobs, self.slots)
        cost = self.price_per_hour * seconds / 3600 if self.price_per_hour else None
        command = (sys.executable, "-m", "launch.worker", f"--root={root}", f"--sweep_id={sweep_id}", "--noprogress")
        command += self.flags()
        return Submission(self.name, sweep_id, root, tuple(jobs), {}, (command,), seconds, cost)

    def following(self, submission: Submission) -> Submission:
        """The same submission for a worker that waits for jobs which join it, until the manifest closes it."""
        return dataclasses.replace(
            submission, commands=tuple((*command, "--follow") for command in submission.commands)
        )

    def flags(self) -> tuple[str, ...]:
        """The settings as flags of `launch.worker`."""
        named = {
            "engine": self.name,
            "slots": self.slots,
            "chips_per_slot": self.chips_per_slot,
            "accelerator": self.accelerator,
            "chips": self.chips,
            "retries": self.retries,
            "backoff_seconds": self.backoff_seconds,
            "grace_seconds": self.grace_seconds,
        }
        return tuple(f"--{name}={value}" for name, value in named.items())

    def submit(self, submission: Submission) -> list[str]:
        """Starts the worker."""
        handles = []
        for command in submission.commands:
            log = worker_log(submission.root, submission.sweep_id)
            worker = processes.start(
                command,
                log,
                cores=(),
                environment=processes.with_project_on_path(os.environ),
                inherited=(),
            )
            handle = processes.handle_of(worker.pid)
            _WORKERS[handle] = worker
            handles.append(handle)
        return handles

    def poll(self, handles: Sequence[str]) -> dict[str, str]:
        """Whether the workers live; those of other machines cannot be seen from here."""
        return {handle: _state(handle) for handle in handles}

    def cancel(self, handles: Sequence[str]) -> None:
        """Sends the workers SIGTERM.

        Raises:
          ConfigError: one runs on another machine.
        """
        for handle in handles:
            if not processes.is_of_this_machine(handle):
                raise ConfigError(f"the worker {handle} runs on another machine", "run launch.cancel there")
            processes.terminate(handle)

    def _devices(self) -> tuple[sharing.Accelerator, tuple[str, ...]]:
        accelerator = sharing.accelerator_of_machine() if self.accelerator == "auto" else self.accelerator
        if self.chips and accelerator != "cpu":
            return accelerator, tuple(map(str, range(self.chips)))
        return accelerator, sharing.devices_of_machine(accelerator)

    def _require_disk(self, root: str) -> None:
        if run_directory.is_remote(root):
            raise ConfigError(
                f"the root {root} is not on a local disk, which the {self.name} engine needs", "give a local directory"
            )


@dataclasses.dataclass(frozen=True)
class SerialEngine(LocalEngine):
    """Runs one job after another in the first slot, without Dask: for debugging, and where no port may be opened."""

    places: int = 1

    name: ClassVar[str] = "serial"

    def __post_init__(self):
        super().__post_init__()
        if self.places != 1:
            raise ConfigError(f"the serial engine has one slot, not {self.places}", "use --engine=local")


def worker_log(root: str, sweep_id: str) -> pathlib.Path:
    """What a worker of this machine prints."""
    return pathlib.Path(root) / "logs" / f"{sweep_id}.worker.log"


def _state(handle: str) -> str:
    if handle in _WORKERS:
        return "running" if _WORKERS[handle].poll() is None else "ended"
    if not processes.is_of_this_machine(handle):
        return "unknown"
    return "running" if processes.is_alive(handle) else "ended"
