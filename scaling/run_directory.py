"""A run on disk: frozen before its first attempt, written by one process at a time, done when `record.json` is there.

    ROOT/<run_id>/
      spec.json       what the run is: configuration, kind, parent, sweep, tags       (frozen)
      config.gin      every Gin binding; operative.gin: those that were used            (frozen)
      attempts/NNNN/  start.json, metrics.jsonl, end.json of one process
      checkpoints/    Orbax
      record.json     the outcome, written once and atomically
      lock, heartbeat.json   held and beaten while a process trains the run

Nothing here imports JAX.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal

from etils import epath

from scaling import gin_files, heartbeat
from scaling.errors import DataError, OutputError, PlumblineError
from scaling.optim import schedules
from scaling.run_config import RunConfig, StoreHashes, run_id

SCHEMA_VERSION = 1

# A trainer waits this long for a lock, since whoever asks for the status of a run holds it for a moment.
_LOCK_PATIENCE_SECONDS = 1.0

Kind = Literal["pretrain", "trunk", "branch"]
Status = Literal["new", "running", "interrupted", "failed", "diverged", "completed"]


class BusyError(PlumblineError):
    """Another process is training this run."""


@dataclasses.dataclass(frozen=True)
class Parent:
    """Where a branch leaves its trunk.

    Attributes:
      run_id: the trunk.
      step: optimiser steps that the trunk had taken there.
    """

    run_id: str
    step: int


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a run is; `spec.json`.

    Attributes:
      run_id: see :func:`scaling.run_config.run_id`.
      kind: "pretrain" (alone), "trunk" (constant rate, feeds branches) or "branch".
      config: the run.
      stores: content hashes of the token stores.
      name: a readable name; free.
      sweep_id: the sweep that asked for the run; empty when none did.
      tags: free strings that reach the record, such as role=fit.
      parent: the trunk of a branch.
      branches: run ids of a trunk's branches, in order of their budgets.
      command: the command that froze the run.
    """

    run_id: str
    kind: Kind
    config: RunConfig
    stores: StoreHashes
    name: str = ""
    sweep_id: str = ""
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    parent: Parent | None = None
    branches: tuple[str, ...] = ()
    command: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def first_step(self) -> int:
        """The step at which this run's own work begins: 0, or a branch's parting from its trunk."""
        return self.parent.step if self.parent else 0

    @property
    def last_step(self) -> int:
        """The step at which the run is finished; a trunk ends where its longest branch leaves it."""
        if self.kind == "trunk":
            return schedules.decay_start(self.config.schedule, self.config.steps)
        return self.config.steps


class RunDirectory:
    """The directory of one run."""

    def __init__(self, path: str | os.PathLike[str]):
        """Opens, but does not read or create, the directory `path`."""
        self.path = epath.Path(path)

    @property
    def spec(self) -> Spec:
        """The frozen specification.

        Raises:
          DataError: the directory holds no readable `spec.json`.
        """
        return gin_files.from_dict(Spec, self.spec_values())

    def spec_values(self) -> dict[str, Any]:
        """`spec.json` as plain JSON, no field of it checked: for who looks at thousands of them.

        Raises:
          DataError: the file is missing or not a JSON object.
        """
        return self._read_json("spec.json")

    @property
    def checkpoints(self) -> epath.Path:
        """Where Orbax keeps this run's checkpoints."""
        return self.path / "checkpoints"

    def record(self) -> dict[str, Any] | None:
        """The outcome, or None while there is none."""
        return self._read_json("record.json") if (self.path / "record.json").exists() else None

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes the outcome, once and atomically."""
        write_json(self.path / "record.json", record)

    def status(self) -> Status:
        """What the files say the run is."""
        record = self.record()
        if record is not None:
            return record["status"]
        if self.is_held():
            return "running"
        attempts = self.attempts()
        if not attempts:
            return "new"
        ended = attempts[-1].end.get("status", "interrupted")
        # An end without a record: the process was killed between the two, and the record is what counts.
        return "interrupted" if ended in ("completed", "diverged") else ended

    def attempts(self) -> list["Attempt"]:
        """Every attempt so far, oldest first."""
        folder = self.path / "attempts"
        return [Attempt(path) for path in sorted(folder.iterdir())] if folder.exists() else []

    def start_attempt(self, facts: Mapping[str, Any]) -> "Attempt":
        """Begins an attempt: a folder of its own, so that two processes can never share a file."""
        path = self.path / "attempts" / f"{len(self.attempts()):04d}"
        path.mkdir(parents=True, exist_ok=False)
        write_json(path / "start.json", {**facts, "started": now(), "pid": os.getpid()})
        return Attempt(path)

    def metrics(self) -> list[dict[str, Any]]:
        """The training curve, one row a step: what an attempt did past the point from which a later one continued does not count."""
        by_step: dict[int, dict[str, Any]] = {}
        for attempt in self.attempts():
            first_step = attempt.first_step
            if first_step is not None:
                by_step = {step: row for step, row in by_step.items() if step <= first_step}
            for row in attempt.metrics():
                by_step[row["step"]] = by_step.get(row["step"], {}) | row
        return [by_step[step] for step in sorted(by_step)]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process, and beats (:mod:`scaling.heartbeat`) for those who cannot see the lock.

        Object stores have no locks: there the heartbeat alone keeps others away, and two processes that begin in the same moment can waste work
        but not spoil it, since attempts share no file.

        Raises:
          BusyError: another process holds it, or one of another machine beats.
        """
        if heartbeat.beats_elsewhere(self.heartbeat):
            raise BusyError(f"{self.path} is being trained by another process")
        with self._flock(), heartbeat.beating(self.heartbeat):
            yield

    @contextlib.contextmanager
    def _flock(self) -> Iterator[None]:
        if self._is_remote():
            yield
            return
        with open(self.path / "lock", "a") as handle:
            deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
            while not _try_flock(handle, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise BusyError(f"{self.path} is being trained by another process")
                time.sleep(0.05)
            yield

    def is_held(self) -> bool:
        """Whether a process trains the run now. Looks through a shared lock, held for a moment, and at the heartbeat; writes nothing."""
        if heartbeat.beats_elsewhere(self.heartbeat):
            return True
        if self._is_remote() or not (self.path / "lock").exists():
            return False
        with open(self.path / "lock") as handle:
            return not _try_flock(handle, fcntl.LOCK_SH)

    @property
    def heartbeat(self) -> epath.Path:
        """The sign of life of the process that trains the run."""
        return self.path / "heartbeat.json"

    def _is_remote(self) -> bool:
        return is_remote(self.path)

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values = json.loads(path.read_text())
            if not isinstance(values, dict):
                raise ValueError(f"it is a {type(values).__name__}")
            return values
        except FileNotFoundError as error:
            raise DataError(
                f"{path} does not exist", "name a run directory, as launch.sweep or scaling.train made it"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{path} is not a JSON object ({error})", "delete the run directory and start the run again"
            ) from error


def _try_flock(handle: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Attempt:
    """One process's try at a run."""

    def __init__(self, path: epath.Path):
        """Opens the folder `path`, which :meth:`RunDirectory.start_attempt` made."""
        self.path = path

    @property
    def first_step(self) -> int | None:
        """The step that it continues from, as `start.json` says; None when it was killed before it could say so."""
        path = self.path / "start.json"
        return json.loads(path.read_text()).get("first_step") if path.exists() else None

    @property
    def end(self) -> dict[str, Any]:
        """How it ended: `status`, `reason`, `step`, `wall_seconds`, `device_seconds`; empty when killed."""
        path = self.path / "end.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def finish(self, status: Status, **facts: Any) -> None:
        """Writes `end.json`."""
        write_json(self.path / "end.json", {"status": status, "ended": now(), **facts})

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; a last line cut off by a kill is left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().split("\n") if path.exists() else []
        # Every complete row ends in a newline, so what follows the last newline is a torn write.
        return [json.loads(line) for line in lines[:-1]]


def freeze(
    root: str | os.PathLike[str],
    loaded: gin_files.Loaded[RunConfig],
    stores: StoreHashes,
    *,
    name: str = "",
    sweep_id: str = "",
    tags: Mapping[str, str] | None = None,
) -> list[RunDirectory]:
    """Creates the directories of a run, or of a trunk and its branches.

    In those that exist, what does not belong to a run's identity is brought up to date for the next attempt: mesh, checkpoint period, paths of
    stores, and the name, sweep and tags where they are given. A record that is written already keeps those that it has.

    Args:
      root: the directory that holds runs.
      loaded: the configuration with its Gin text.
      stores: content hashes of the token stores (:func:`scaling.run_stores.hashes_of`).
      name, sweep_id, tags: see :class:`Spec`.

    Returns:
      The run alone, or the trunk followed by its branches in order of their budgets.

    Raises:
      OutputError: the root cannot be written.
    """
    specs = specs_of(loaded.config, stores, name=name, sweep_id=sweep_id, tags=tags)
    return [_freeze_one(root, spec, loaded) for spec in specs]


def specs_of(
    config: RunConfig,
    stores: StoreHashes,
    *,
    name: str = "",
    sweep_id: str = "",
    tags: Mapping[str, str] | None = None,
) -> list[Spec]:
    """The specification of a run, or those of a trunk and its branches; see :func:`freeze`."""
    shared = dict(stores=stores, sweep_id=sweep_id, tags=dict(tags or {}), command=gin_files.command_line())
    if not config.branches:
        return [Spec(run_id(config, stores, "pretrain"), "pretrain", config, name=name, **shared)]
    trunk_id = run_id(config, stores, "trunk")
    branches = [_branch_spec(config, budget, trunk_id, name, shared) for budget in config.branches]
    trunk_name = f"{name}-trunk" if name else ""
    trunk = Spec(
        trunk_id, "trunk", config, name=trunk_name, branches=tuple(branch.run_id for branch in branches), **shared
    )
    return [trunk, *branches]


def _branch_spec(config: RunConfig, budget: int, trunk_id: str, name: str, shared: Mapping[str, Any]) -> Spec:
    branch = dataclasses.replace(config, tokens=budget, branches=())
    parent = Parent(trunk_id, schedules.decay_start(branch.schedule, branch.steps))
    identity = run_id(branch, shared["stores"], "branch", trunk_id)
    return Spec(identity, "branch", branch, name=f"{name}-{budget}" if name else "", parent=parent, **shared)


def _freeze_one(root: str | os.PathLike[str], spec: Spec, loaded: gin_files.Loaded[RunConfig]) -> RunDirectory:
    directory = RunDirectory(epath.Path(root) / spec.run_id)
    if (directory.path / "spec.json").exists():
        frozen = directory.spec
        # Equal names compute equal things, but perhaps on another mesh, from a store that moved, or saved more often.
        current = dataclasses.replace(
            frozen,
            config=spec.config,
            name=spec.name or frozen.name,
            sweep_id=spec.sweep_id or frozen.sweep_id,
            tags=spec.tags or frozen.tags,
        )
        if current != frozen and directory.record() is None:
            write_json(directory.path / "spec.json", gin_files.to_dict(current))
        return directory
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        (directory.path / "config.gin").write_text(loaded.bindings)
        (directory.path / "operative.gin").write_text(loaded.operative)
        # Last, because its presence means that the directory is complete.
        write_json(directory.path / "spec.json", gin_files.to_dict(spec))
    except OSError as error:
        if directory.path.is_dir():
            directory.path.rmtree(missing_ok=True)
        raise OutputError(
            f"the run directory {directory.path} cannot be written: {error.strerror or error}",
            "choose a root directory that can be written and has room",
        ) from error
    return directory


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a bucket's (gs://...) and not on a disk of this machine."""
    return "://" in os.fspath(path)


def write_json(path: epath.Path, value: Mapping[str, Any]) -> None:
    """Writes JSON under a temporary name and renames it: readers see the old file, the new one or none."""
    # With the machine's name, because process ids repeat on others that share the disk.
    partial = path.with_name(f"{path.name}.partial-{socket.gethostname()}-{os.getpid()}")
    try:
        partial.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
