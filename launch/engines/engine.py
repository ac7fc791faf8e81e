"""What an engine is: something that runs jobs elsewhere or here, and that never decides whether a run is done.

Every engine runs the same command, `python -m launch.run_one --root=R --run_id=X [--run_id=Y ..]` (or `launch.worker`, which runs that on each
slot of a host). The state of a run is computed from its directory (:mod:`launch.states`); what an engine says of its jobs is advice.

An engine is a frozen dataclass that Gin binds and that holds settings alone, so a manifest can keep it and `launch.resume` can make it again.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process trains, one run after another: runs that share a compiled step.

    Attributes:
      name: unique within a sweep and good as a file name.
      run_ids: what `launch.run_one` is given, in order; a trunk stands for its branches too.
      seconds: predicted, start-up included.
      flops: predicted training FLOPs (6ND) of everything that the job trains.
      memory_bytes: predicted peak of device memory (host memory on a CPU), that of its largest run.
    """

    name: str
    run_ids: tuple[str, ...]
    seconds: float
    flops: float
    memory_bytes: float


@dataclasses.dataclass(frozen=True)
class Submission:
    """What an engine would do, as data: `--dry_run` prints it.

    Attributes:
      engine: name of the engine.
      sweep_id: the sweep that the jobs belong to.
      root: the directory of the run directories.
      jobs: in the order in which they are started.
      files: path -> text that `submit` will write.
      commands: programs with their arguments that `submit` will execute, in order; empty where it calls a library.
      seconds: predicted time from the first start to the last end.
      cost: predicted, in the currency of the engine's prices; None where the engine knows no price.
    """

    engine: str
    sweep_id: str
    root: str
    jobs: tuple[Job, ...]
    files: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]
    seconds: float
    cost: float | None


class Engine(Protocol):
    """Runs jobs.

    Attributes:
      name: its key in :mod:`launch.engines.catalogue`.
      reads_buckets: whether a root may be a bucket (gs://...); if not, it must be a directory that this machine and the engine's machines share.
    """

    name: str
    reads_buckets: bool

    @property
    def slots(self) -> int:
        """Jobs that run at a time, at least 1: groups of runs are cut into so many pieces that all slots have work."""

    def check(self, root: str) -> None:
        """Looks whether `submit` can work; called before anything is written, not under `--dry_run`.

        Raises:
          ConfigError: a package or a command is not installed, there are no credentials, or the root cannot be reached from there.
        """

    def plan(self, jobs: Sequence[Job], sweep_id: str, root: str) -> Submission:
        """What :meth:`submit` would do. Pure: it touches nothing and needs nothing installed.

        Raises:
          ConfigError: the settings of the engine do not fit together.
        """

    def submit(self, submission: Submission) -> list[str]:
        """Starts the jobs of a submission, whose runs are frozen already, and returns one handle for each thing that can be cancelled."""

    def poll(self, handles: Sequence[str]) -> dict[str, str]:
        """What the engine thinks of each handle: "waiting", "running", "ended", or "unknown". Run directories are the truth."""

    def cancel(self, handles: Sequence[str]) -> None:
        """Asks for an end; trainers save and leave. A handle that ended already is no error."""
