"""The Slurm engine: its settings, what it would submit, and the commands that ask Slurm afterwards."""

import dataclasses
import getpass
import math
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from launch.engines.engine import Job, Submission
from launch.engines.slurm.task import RunTask
from launch.jobs import makespan
from scaling import extras, run_directory
from scaling.errors import ConfigError

_COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")

# Slurm's words for jobs that wait or run; a job that squeue does not list has ended.
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")

# Arguments of one scancel, far below the limit of any system.
_HANDLES_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class SlurmEngine:
    """Runs jobs as tasks of Slurm arrays.

    A task that is preempted, or comes to the end of its time, is told `grace_seconds` before: its trainer saves and the task goes back to the queue.

    Attributes:
      partition, account, qos, constraint: as for `sbatch`; empty leaves the cluster's default.
      minutes: the time limit of a task; a task that needs longer is requeued and goes on.
      nodes: of one task.
      tasks_per_node: processes on each node: 1, which drives all its GPUs, or one for each GPU.
      gpus_per_node: 0 on a cluster of CPUs.
      cpus_per_task: cores of each process.
      memory_gb: of each node; 0 leaves the cluster's default.
      parallelism: tasks at a time.
      grace_seconds: between the warning and the end. Slurm looks once a minute, so below 60 a warning may never come.
      retries: how often a crashed trainer is started again within the task.
      backoff_seconds: pause before the first of these; each next one is twice as long.
      max_timeouts: how often a task may run out of time before it is given up.
      max_array_size: tasks of one array; `scontrol show config | grep MaxArraySize` names the cluster's limit (1001 by default, which allows 1000).
      setup: lines of bash before the task, such as `module load cuda`.
      options: further options of `sbatch`, without dashes: {"reservation": "night"}.
      folder: for logs and pickled tasks, on a disk that every node sees; by default ROOT/logs/slurm.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    minutes: int = 1_440
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    memory_gb: float = 0.0
    parallelism: int = 32
    grace_seconds: int = 300
    retries: int = 2
    backoff_seconds: float = 30.0
    max_timeouts: int = 100
    max_array_size: int = 1_000
    setup: tuple[str, ...] = ()
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: str = ""

    name = "slurm"
    reads_buckets = True  # With a `folder` on a disk that every node sees; without one `plan` refuses.

    def __post_init__(self):
        for field in ("minutes", "nodes", "tasks_per_node", "cpus_per_task", "parallelism", "max_array_size"):
            _require(getattr(self, field) >= 1, f"{field} is {getattr(self, field)!r}", "give at least 1")
        for field in ("gpus_per_node", "memory_gb", "retries", "backoff_seconds", "max_timeouts"):
            _require(getattr(self, field) >= 0, f"{field} is {getattr(self, field)!r}", "give 0 or more")
        _require(
            self.gpus_per_node % self.tasks_per_node == 0,
            f"tasks_per_node is {self.tasks_per_node} for {self.gpus_per_node} GPUs a node",
            "give 1, or a number that divides the GPUs of a node",
        )
        _require(
            0 < self.grace_seconds < 60 * self.minutes,
            f"grace_seconds is {self.grace_seconds} within a limit of {self.minutes} minutes",
            "give a warning that comes after the start: less than the time limit",
        )

    @property
    def slots(self) -> int:
        """Tasks at a time."""
        return self.parallelism

    def check(self, root: str) -> None:
        """Looks for submitit and for Slurm's commands.

        Raises:
          ConfigError: one of them is missing, or the root is in a bucket and there is no `folder`.
        """
        extras.require("submitit", "the Slurm engine")
        self._folder(root, "")
        missing = [command for command in _COMMANDS if shutil.which(command) is None]
        if missing:
            raise ConfigError(
                f"the Slurm engine finds no {', '.join(missing)} on the PATH",
                "submit from a login node of the cluster, or choose another engine",
            )

    def plan(self, jobs: Sequence[Job], sweep_id: str, root: str) -> Submission:
        """The arrays that :meth:`submit` would hand to `sbatch`; touches nothing.

        Raises:
          ConfigError: submitit, which writes their text, is not installed.
        """
        extras.require("submitit", "the Slurm engine")
        from launch.engines.slurm import arrays

        folder = self._folder(root, sweep_id)
        files = {
            str(folder / f"array-{index}.sh"): arrays.text(self, folder, sweep_id, len(part), self._share(len(jobs)))
            for index, part in enumerate(self._parts(jobs))
        }
        return Submission(
            engine=self.name,
            sweep_id=sweep_id,
            root=root,
            jobs=tuple(jobs),
            files=files,
            commands=tuple(("sbatch", path) for path in files),
            seconds=makespan(jobs, self.slots),
            cost=None,
        )

    def submit(self, submission: Submission) -> list[str]:
        """Submits the arrays, one task a job.

        Returns:
          Slurm's job ids in the order of the jobs: `ARRAY_INDEX`, or a plain number for a job that is alone.

        Raises:
          ConfigError: Slurm refuses, with its own words.
        """
        self.check(submission.root)
        from launch.engines.slurm import arrays

        folder = self._folder(submission.root, submission.sweep_id)
        share = self._share(len(submission.jobs))
        handles: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in submission.files.items():
            # For the reader: submitit hands the same text to sbatch under a name of its own.
            pathlib.Path(path).write_text(text)
        for part in self._parts(submission.jobs):
            tasks = [self.task(job, submission.root) for job in part]
            handles.extend(arrays.submit(self, folder, submission.sweep_id, tasks, share))
        return handles

    def poll(self, handles: Sequence[str]) -> dict[str, str]:
        """What `squeue` says; "unknown" where it cannot be asked. It forgets jobs a few minutes after their end."""
        listed = _run(["squeue", f"--user={getpass.getuser()}", "--noheader", "--array", "--format=%i %T"])
        if listed is None:
            return dict.fromkeys(handles, "unknown")
        states = dict(line.split(maxsplit=1) for line in listed.splitlines() if line.strip())
        return {handle: _word(states.get(handle)) for handle in handles}

    def cancel(self, handles: Sequence[str]) -> None:
        """Cancels; running trainers save and leave, within Slurm's KillWait.

        Raises:
          ConfigError: `scancel` cannot be run.
        """
        for start in range(0, len(handles), _HANDLES_AT_ONCE):
            # --quiet: a job that ended already is no error.
            if _run(["scancel", "--quiet", *handles[start : start + _HANDLES_AT_ONCE]]) is None:
                raise ConfigError("scancel failed, as it says above", "cancel from a login node of the cluster")

    def task(self, job: Job, root: str) -> RunTask:
        """What one task of an array runs."""
        return RunTask(
            root=root if run_directory.is_remote(root) else os.path.abspath(root),
            run_ids=job.run_ids,
            python=sys.executable,
            retries=self.retries,
            backoff_seconds=self.backoff_seconds,
            grace_seconds=float(self.grace_seconds),
        )

    def _parts(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """The jobs in arrays that the cluster accepts."""
        for start in range(0, len(jobs), self.max_array_size):
            yield jobs[start : start + self.max_array_size]

    def _share(self, jobs: int) -> int:
        """Tasks at a time of one array, where a sweep needs several of them."""
        return max(1, self.parallelism // max(1, math.ceil(jobs / self.max_array_size)))

    def _folder(self, root: str, sweep_id: str) -> pathlib.Path:
        if self.folder:
            return pathlib.Path(os.path.abspath(self.folder)) / sweep_id
        if run_directory.is_remote(root):
            raise ConfigError(
                f"the root {root} is in a bucket, and Slurm's logs need a disk",
                "set SlurmEngine.folder to a directory that every node sees",
            )
        return pathlib.Path(os.path.abspath(root)) / "logs" / "slurm" / sweep_id


def _require(condition: bool, what: str, remedy: str) -> None:
    if not condition:
        raise ConfigError(f"SlurmEngine.{what}", remedy)


def _run(command: Sequence[str]) -> str | None:
    """The output of one of Slurm's commands; None where it fails, after it has said why."""
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return None


def _word(state: str | None) -> str:
    """Slurm's word in those of :class:`launch.engines.engine.Engine`."""
    if state is None:
        return "ended"
    return "waiting" if state in _WAITING else "running"
