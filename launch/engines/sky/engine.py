"""The sky engine: its settings, the task files that it would submit, and what it asks SkyPilot afterwards."""

import dataclasses
import heapq
import pathlib
import re
from collections.abc import Mapping, Sequence

from launch.engines.engine import Job, Submission
from launch.engines.sky import command, prices, tasks
from launch.engines.sky.hardware import Hardware, find
from launch.jobs import makespan
from scaling import run_directory
from scaling.errors import ConfigError
from scaling.gin_files import PROJECT_ROOT

# SkyPilot's words for jobs that wait and for those that have ended; all others are being worked on.
_WAITING = ("PENDING", "SUBMITTED")
_ENDED = (
    "SUCCEEDED",
    "CANCELLED",
    "FAILED",
    "FAILED_SETUP",
    "FAILED_PRECHECKS",
    "FAILED_NO_RESOURCE",
    "FAILED_CONTROLLER",
)

# How many chips of a TPU host a process can be given: those shapes for which JAX's own runner of several processes knows the bounds.
_SHARES_OF_A_HOST = (1, 4, 8)


@dataclasses.dataclass(frozen=True)
class SkyEngine:
    """Runs jobs on TPU slices, GPU nodes and Kubernetes, through SkyPilot.

    Hardware of one host becomes a warm pool, over whose workers a sweep is sharded; each worker runs its share in slots, as the local engine does.
    Hardware of several hosts becomes managed jobs, each of which trains its runs one after another on all of its hosts.

    Attributes:
      hardware: a TPU slice (`v5e-8`, `v6e-8`, `v5e-16`, `v6e-16`, `v5p-16`) or the GPUs of a node (`H100:8`).
      region: of the cloud, which must be the bucket's: machines elsewhere pay for each byte and wait for it. For Kubernetes a context, which may be empty.
      infra: `gcp`, another cloud of SkyPilot's, or `k8s`.
      workers: slices of the pool, or jobs at a time.
      nodes: GPU nodes that train a run together.
      spot: whether machines may be taken away; jobs then go on elsewhere in the region from their last checkpoint.
      queued: whether to wait for a TPU as a queued resource, which takes its turn where it would else be refused.
      chips_per_slot: accelerators of each run on a pool: all of a host, or a share (1, 4 or 8 chips of a TPU host).
      max_restarts: of a job that failed for another reason than an interruption, which is always free.
      stores: bucket with the token stores (gs://BUCKET/stores), copied to `stores/` of every host.
      environment: further variables of the jobs.
      dollars_per_hour: of one worker, where the table of prices does not have it or is out of date; 0 takes the table's.
      folder: where task files are written, relative to the project.
    """

    hardware: str = "v5e-8"
    region: str = ""
    infra: str = "gcp"
    workers: int = 8
    nodes: int = 1
    spot: bool = True
    queued: bool = False
    chips_per_slot: int = 1
    max_restarts: int = 3
    stores: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dollars_per_hour: float = 0.0
    folder: str = ".cache/sky"

    name = "sky"
    reads_buckets = True

    def __post_init__(self):
        for field in ("workers", "nodes", "chips_per_slot"):
            _require(getattr(self, field) >= 1, f"{field} is {getattr(self, field)!r}", "give at least 1")
        _require(self.max_restarts >= 0, f"max_restarts is {self.max_restarts!r}", "give 0 or more")
        found = self._hardware
        _require(
            self._kubernetes or bool(self.region),
            f"region is empty for {self.infra}",
            "name the bucket's region: gcloud storage buckets describe gs://BUCKET --format='value(location)'",
        )
        _require(
            not self.queued or (self.infra == "gcp" and found.extra == "tpu"),
            f"queued is set for {self.hardware} on {self.infra}",
            "unset it: only TPU slices of Google's cloud are queued",
        )
        if self._pooled:
            shares = [count for count in _SHARES_OF_A_HOST if count <= found.chips]
            _require(
                found.chips % self.chips_per_slot == 0 and (found.extra != "tpu" or self.chips_per_slot in shares),
                f"chips_per_slot is {self.chips_per_slot} of the {found.chips} chips of {self.hardware}",
                f"choose among {', '.join(map(str, shares))}",
            )

    @property
    def slots(self) -> int:
        """Jobs at a time: slots of all workers, or jobs with hosts of their own."""
        return self.workers * (self._hardware.chips // self.chips_per_slot if self._pooled else 1)

    def check(self, root: str) -> None:
        """Looks for the command `sky`, its credentials and a root that cloud machines can read.

        Raises:
          ConfigError: one of them is missing.
        """
        _require_bucket(root)
        command.require()
        command.require_credentials("kubernetes" if self._kubernetes else self.infra)

    def plan(self, jobs: Sequence[Job], sweep_id: str, root: str) -> Submission:
        """The task files and the `sky` commands that :meth:`submit` would run; touches nothing and needs no SkyPilot.

        Raises:
          ConfigError: the root is on a disk of this machine.
        """
        _require_bucket(root)
        files, commands = (self._pool if self._pooled else self._runs)(jobs, sweep_id, root)
        seconds = makespan(jobs, self.slots)
        hourly = self._dollars_per_hour()
        return Submission(
            engine=self.name,
            sweep_id=sweep_id,
            root=root,
            jobs=tuple(jobs),
            files=files,
            commands=commands,
            seconds=seconds,
            cost=None if hourly is None else hourly * self._machines(jobs) * seconds / 3600,
        )

    def submit(self, submission: Submission) -> list[str]:
        """Writes the task files and runs the commands; when one fails, jobs that were submitted before it are cancelled.

        Returns:
          the names of the managed jobs; the jobs of a pool share one.

        Raises:
          ConfigError: SkyPilot is missing or refuses, with its own words.
        """
        command.require()
        for path, text in submission.files.items():
            file = PROJECT_ROOT / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        submitted: list[str] = []
        for words in submission.commands:
            try:
                command.run(words)
            except ConfigError:
                self.cancel(submitted)
                raise
            if "launch" in words:
                submitted.append(words[words.index("-n") + 1])
        if self._pooled:
            print(f"the pool {self._pool_name} stays up, and costs, until: sky jobs pool down {self._pool_name}")
        return submitted

    def poll(self, handles: Sequence[str]) -> dict[str, str]:
        """What `sky jobs queue` says; of several jobs with one name, that of the least advanced."""
        statuses = {handle: set() for handle in handles}
        for job in command.queue() if handles else []:
            if job["job_name"] in statuses:
                statuses[job["job_name"]].add(job["status"])
        return {handle: _word(found) for handle, found in statuses.items()}

    def cancel(self, handles: Sequence[str]) -> None:
        """Cancels what has not ended; trainers are sent SIGTERM and save.

        Raises:
          ConfigError: `sky` is missing or refuses.
        """
        jobs = command.queue() if handles else []
        numbers = {job["job_id"] for job in jobs if job["job_name"] in handles and job["status"] not in _ENDED}
        if numbers:
            command.run([command.NAME, "jobs", "cancel", "-y", *map(str, sorted(numbers))])

    @property
    def _kubernetes(self) -> bool:
        return self.infra in ("k8s", "kubernetes")

    @property
    def _hardware(self) -> Hardware:
        return find(self.hardware, self.nodes, self._kubernetes)

    @property
    def _pooled(self) -> bool:
        return self._hardware.hosts == "one"

    @property
    def _pool_name(self) -> str:
        # Names of pools are lower case.
        return _named("plumbline", self.hardware, self.region).lower()

    def _request(self) -> tasks.Request:
        return tasks.Request(
            hardware=self._hardware,
            infra=f"{self.infra}/{self.region}" if self.region else self.infra,
            spot=self.spot,
            queued=self.queued,
            max_restarts=self.max_restarts,
            stores=self.stores,
            environment=self.environment,
        )

    def _pool(self, jobs: Sequence[Job], sweep_id: str, root: str):
        pool, name, folder = self._pool_name, _named(sweep_id), self._folder(sweep_id)
        files = {
            f"{folder}/pool.yaml": tasks.pool(self._request(), pool, self.workers),
            f"{folder}/sweep.yaml": tasks.sweep(self._request(), name, root, sweep_id, self.chips_per_slot),
        }
        shares = str(min(self.workers, max(1, len(jobs))))
        commands = (
            (command.NAME, "jobs", "pool", "apply", "-y", "-p", pool, f"{folder}/pool.yaml"),
            (
                command.NAME,
                "jobs",
                "launch",
                "-y",
                "-d",
                "-n",
                name,
                "-p",
                pool,
                "--num-jobs",
                shares,
                f"{folder}/sweep.yaml",
            ),
        )
        return files, commands

    def _runs(self, jobs: Sequence[Job], sweep_id: str, root: str):
        files, commands = {}, []
        for number, run_ids in enumerate(self._shares(jobs)):
            name = _named(sweep_id, f"{number:02d}")
            path = f"{self._folder(sweep_id)}/run-{number:02d}.yaml"
            files[path] = tasks.runs(self._request(), name, root, run_ids)
            commands.append((command.NAME, "jobs", "launch", "-y", "-d", "-n", name, path))
        return files, tuple(commands)

    def _shares(self, jobs: Sequence[Job]) -> list[list[str]]:
        """Run ids for as many machines as there may be at a time, each next job where it can start first."""
        free_at = [(0.0, number) for number in range(min(self.workers, len(jobs)))]
        shares: list[list[str]] = [[] for _ in free_at]
        for job in jobs:
            seconds, number = free_at[0]
            shares[number].extend(job.run_ids)
            heapq.heapreplace(free_at, (seconds + job.seconds, number))
        return shares

    def _machines(self, jobs: Sequence[Job]) -> int:
        """Workers that are paid for: all of a pool, whether they have work or not."""
        return self.workers if self._pooled else min(self.workers, len(jobs))

    def _folder(self, sweep_id: str) -> str:
        return str(pathlib.PurePosixPath(self.folder) / _named(sweep_id))

    def _dollars_per_hour(self) -> float | None:
        """Of one worker."""
        if self.dollars_per_hour:
            return self.dollars_per_hour
        chip = prices.chip_hour(self._hardware.generation, self.region, self.spot) if self.infra == "gcp" else None
        return None if chip is None else chip * self._hardware.chips


def _require(condition: bool, what: str, remedy: str) -> None:
    if not condition:
        raise ConfigError(f"SkyEngine.{what}", remedy)


def _require_bucket(root: str) -> None:
    if not run_directory.is_remote(root):
        raise ConfigError(
            f"the root {root} is on this machine, and those of the cloud do not see it", "give --root=gs://BUCKET/runs"
        )


def _named(*parts: str) -> str:
    """A name that SkyPilot accepts: letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", "-".join(part for part in parts if part)).strip("-")


def _word(statuses: set[str]) -> str:
    """SkyPilot's words in those of :class:`launch.engines.engine.Engine`."""
    if not statuses:
        return "unknown"
    if statuses <= set(_ENDED):
        return "ended"
    return "waiting" if statuses <= {*_ENDED, *_WAITING} else "running"
