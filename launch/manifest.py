"""ROOT/sweeps/<sweep_id>.json: what a sweep consists of and where it was submitted.

It is written before anything is submitted and holds all that is needed to go on without the sweep's Gin files: `launch.resume`, `launch.status`,
`launch.cancel` and the workers on other machines read it. Whether a run is done it does not say: the run's directory does.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from launch import buckets, states
from launch.engines.engine import Job
from launch.plan import Plan, PlannedRun
from scaling import gin_files, run_directory
from scaling.errors import ConfigError, DataError, OutputError

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class ManifestRun:
    """One run as planned.

    Attributes:
      run_id: the run, or the trunk.
      branches: the runs that branch from it.
      label: a short name.
      tags: what its record carries.
      group: runs of one group share a compiled step.
      parameters: total.
      own_flops, seconds, memory_bytes: as predicted; see :class:`launch.plan.PlannedRun`.
      population: equal for runs of a group that may train side by side; empty where a manifest does not say.
    """

    run_id: str
    branches: tuple[str, ...]
    label: str
    tags: dict[str, str]
    group: str
    parameters: int
    own_flops: float
    seconds: float
    memory_bytes: float
    population: str = ""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The run, or the trunk with its branches."""
        return (self.run_id, *self.branches)


@dataclasses.dataclass(frozen=True)
class Submitted:
    """One submission of the sweep to an engine.

    Attributes:
      engine: its name.
      settings: of the engine, from which it can be made again.
      jobs: in the order in which they were to start.
      handles: what the engine returned; empty while it has not.
      submitted: when, UTC.
      open: whether jobs may still join it, for which a worker that follows it waits.
    """

    engine: str
    settings: dict[str, Any]
    jobs: tuple[Job, ...]
    handles: tuple[str, ...] = ()
    submitted: str = ""
    open: bool = False


@dataclasses.dataclass(frozen=True)
class Joining:
    """What joins a sweep while its last submission is open.

    Attributes:
      runs: frozen.
      jobs: that train them; their names are new to the submission.
      last: whether nothing will join after them.
    """

    runs: tuple[ManifestRun, ...] = ()
    jobs: tuple[Job, ...] = ()
    last: bool = False


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A sweep on disk.

    Attributes:
      sweep_id: its name with a hash of its runs.
      name: of the sweep.
      command: that planned it.
      created: when, UTC.
      runs: in the order of the sweep.
      submissions: oldest first.
    """

    sweep_id: str
    name: str
    command: str
    created: str
    runs: tuple[ManifestRun, ...]
    submissions: tuple[Submitted, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def unfinished(self, root: str) -> list[ManifestRun]:
        """The runs that files do not show as finished."""
        return [run for run in self.runs if not states.all_recorded(root, run.run_ids)]

    def with_submission(self, submitted: Submitted) -> "Manifest":
        """The same sweep, submitted once more; one that has no handles yet is replaced."""
        earlier = self.submissions
        if earlier and not earlier[-1].handles:
            earlier = earlier[:-1]
        return dataclasses.replace(self, submissions=(*earlier, submitted))

    def with_runs(self, runs: Sequence[ManifestRun]) -> "Manifest":
        """The same sweep with more runs; those that it has are left as they are."""
        known = {run.run_id for run in self.runs}
        return dataclasses.replace(self, runs=(*self.runs, *(run for run in runs if run.run_id not in known)))

    def joined_by(self, joining: Joining) -> "Manifest":
        """The same sweep after more runs and jobs have joined its last submission."""
        *earlier, last = self.submissions
        last = dataclasses.replace(last, jobs=(*last.jobs, *joining.jobs), open=not joining.last)
        return dataclasses.replace(self.with_runs(joining.runs), submissions=(*earlier, last))


def manifest_of(plan: Plan) -> Manifest:
    """What a plan consists of, with the submissions of the same sweep so far."""
    known = read_if_there(plan.root, plan.sweep_id)
    return Manifest(
        sweep_id=plan.sweep_id,
        name=plan.sweep.name,
        command=gin_files.command_line(),
        created=known.created if known else run_directory.now(),
        runs=tuple(map(run_of, plan.runs)),
        submissions=known.submissions if known else (),
    )


def run_of(run: PlannedRun) -> ManifestRun:
    """What the manifest keeps of a planned run."""
    return ManifestRun(
        run_id=run.run_id,
        branches=run.unit.run_ids[1:],
        label=run.label,
        tags=dict(run.point.tags),
        group=run.group,
        parameters=run.parameters,
        own_flops=run.own_flops,
        seconds=run.seconds,
        memory_bytes=run.memory_bytes,
        population=run.population,
    )


def write(root: str, manifest: Manifest) -> None:
    """Writes it atomically.

    Raises:
      OutputError: the root cannot be written.
    """
    path = path_of(root, manifest.sweep_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        run_directory.write_json(path, dataclasses.asdict(manifest))
    except OSError as error:
        raise OutputError(
            f"the manifest {path} cannot be written: {error.strerror or error}",
            "choose a root directory that can be written and has room",
        ) from error


def read(root: str, sweep_id: str) -> Manifest:
    """Reads the manifest of a sweep.

    Raises:
      DataError: there is none, or it cannot be read.
    """
    manifest = read_if_there(root, sweep_id)
    if manifest is None:
        known = ", ".join(sweep_ids(root)) or "none"
        raise DataError(
            f"{path_of(root, sweep_id)} does not exist; sweeps there: {known}", "check --root and --sweep_id"
        )
    return manifest


def read_if_there(root: str, sweep_id: str) -> Manifest | None:
    """The manifest of a sweep, or None where it has none; otherwise as :func:`read`."""
    path = path_of(root, sweep_id)
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        return gin_files.from_dict(Manifest, values)
    except (ValueError, TypeError, ConfigError) as error:
        raise DataError(
            f"{path} is no manifest: {' '.join(str(error).split())[:300]}",
            "start the sweep again with launch.sweep, which writes it anew and repeats nothing",
        ) from error


def path_of(root: str, sweep_id: str) -> epath.Path:
    """Where the manifest of a sweep is."""
    buckets.require_reachable(root)
    return epath.Path(root) / "sweeps" / f"{sweep_id}.json"


def sweep_ids(root: str) -> list[str]:
    """The sweeps that have a manifest under a root."""
    buckets.require_reachable(root)
    folder = epath.Path(root) / "sweeps"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def sweep_id_of(root: str, given: str | None) -> str:
    """The sweep that a verb was given, or the only one of the root.

    Raises:
      ConfigError: none was given, and the root holds none or several.
    """
    if given:
        return given
    known = sweep_ids(root)
    if len(known) != 1:
        listed = f"{len(known)} sweeps: {', '.join(known)}" if known else "no sweep"
        raise ConfigError(f"--sweep_id is missing, and {root} holds {listed}", "name a sweep of the root")
    return known[0]


def refuse_other_sweeps(root: str, name: str) -> None:
    """Refuses a root that belongs to a sweep of another name: their records would be fitted together.

    Raises:
      ConfigError: naming the other sweep.
    """
    for sweep_id in sweep_ids(root):
        other = sweep_id.rpartition("-")[0]
        if other != name:
            raise ConfigError(
                f"the root {root} belongs to the sweep {other!r}, and this one is {name!r}",
                "give it a --root of its own, or share this one by --share_root",
            )


def workers_folder(root: str, sweep_id: str) -> epath.Path:
    """Where the workers of a sweep report."""
    return epath.Path(root) / "sweeps" / sweep_id


def settings_of(engine: Any) -> Mapping[str, Any]:
    """The settings of an engine as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(engine), default=os.fspath))
