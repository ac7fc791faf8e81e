"""Trains a share of a sweep on this machine: `python -m launch.worker --root=DIR --sweep_id=S [--shard=I/N]`.

The local engine starts it, and so does each host of a pool. It reads the jobs of the sweep's last submission, keeps its share of them, and fills the
slots of this machine. SIGTERM lets trainers save. Exit codes: 0 every run of the share is recorded; 70 one diverged; 1 some failed; 2 bad input;
75 interrupted, the same command continues.
"""

import os
import pathlib
import re
import socket
import tempfile
import time
from collections.abc import Sequence

from absl import flags

from launch import conduct, jobs, manifest, processes, reports, states
from launch.engines.engine import Job
from launch.engines.local.dispatcher import Dispatcher, MoreJobs, Settings
from launch.engines.local.engine import LocalEngine, SerialEngine
from launch.engines.local.pools import Pool, SerialPool
from launch.manifest import Manifest
from launch.progress import SweepProgress, WatchedRun
from launch.reports import Outcome, Report, Snapshot
from scaling import run_directory, verbs
from scaling.errors import ConfigError

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_SWEEP_ID = flags.DEFINE_string("sweep_id", None, "The sweep; without it the only one of the root.")
_SHARD = flags.DEFINE_string("shard", "0/1", "The share of the jobs: its index, from 0, and how many there are.")
_FOLLOW = flags.DEFINE_bool("follow", False, "Wait for jobs that join the submission, until the manifest closes it.")
_ENGINE = flags.DEFINE_enum("engine", "local", ["local", "serial"], "All slots at once, or one job after another.")
_SLOTS = flags.DEFINE_integer("slots", 0, "Jobs at a time; 0 is one for each CPU core or for each share of chips.")
_CHIPS_PER_SLOT = flags.DEFINE_integer("chips_per_slot", 1, "Accelerator chips that a slot shows its job.")
_ACCELERATOR = flags.DEFINE_enum("accelerator", "auto", ["auto", "cpu", "cuda", "tpu"], "What slots are made of.")
_CHIPS = flags.DEFINE_integer("chips", 0, "How many chips there are; 0 counts them.")
_RETRIES = flags.DEFINE_integer("retries", 2, "How often a run is tried again after a crash.")
_BACKOFF_SECONDS = flags.DEFINE_float("backoff_seconds", 1.0, "Pause before the first of these; it doubles.")
_GRACE_SECONDS = flags.DEFINE_float("grace_seconds", 300.0, "How long trainers may take to save at the end.")
_PROGRESS = flags.DEFINE_bool("progress", True, "Print progress.")

_REPORT_SECONDS = 1.0


def main(argv: Sequence[str]) -> None:
    """Trains the share to its end."""
    del argv
    sweep = manifest.read(_ROOT.value, manifest.sweep_id_of(_ROOT.value, _SWEEP_ID.value))
    share = _share(sweep)
    following = _Following(sweep) if _FOLLOW.value else None
    engine = _engine()
    with tempfile.TemporaryDirectory(prefix="plumbline-", ignore_cleanup_errors=True) as folder:
        reporter = _Reporter(sweep, share, engine.slots)
        try:
            outcome = _dispatch(sweep.sweep_id, share, engine, folder, reporter, following or (lambda: None))
        finally:
            reporter.close()
    reporter.finish(outcome)
    _conclude([*share, *(following.joined if following else ())], outcome)


def _share(sweep: Manifest) -> list[Job]:
    """The jobs of this worker; runs that are recorded already are passed over when their turn comes."""
    match = re.fullmatch(r"(\d+)/(\d+)", _SHARD.value)
    if not match or not int(match[1]) < int(match[2]):
        raise ConfigError(f"--shard is {_SHARD.value!r}", "give INDEX/COUNT, such as 0/4 for the first of four")
    if _FOLLOW.value and int(match[2]) > 1:
        raise ConfigError(f"--follow and --shard={_SHARD.value}", "one worker follows a submission; leave --shard out")
    if not sweep.submissions:
        raise ConfigError(f"the sweep {sweep.sweep_id} was never submitted", "start it with launch.sweep")
    return jobs.shard(sweep.submissions[-1].jobs, int(match[1]), int(match[2]))


def _engine() -> LocalEngine:
    settings = dict(
        chips_per_slot=_CHIPS_PER_SLOT.value,
        accelerator=_ACCELERATOR.value,
        chips=_CHIPS.value,
        retries=_RETRIES.value,
        backoff_seconds=_BACKOFF_SECONDS.value,
        grace_seconds=_GRACE_SECONDS.value,
    )
    if _ENGINE.value == "serial":
        return SerialEngine(**settings)
    return LocalEngine(places=_SLOTS.value, **settings)


class _Following:
    """The jobs that join the last submission of a sweep, from its manifest, which is read again whenever it was written anew."""

    def __init__(self, sweep: Manifest):
        self._path = pathlib.Path(manifest.path_of(_ROOT.value, sweep.sweep_id))
        self._sweep = sweep
        self._mark: tuple[int, int] | None = None
        self.joined: list[Job] = []

    def __call__(self) -> list[Job] | None:
        """Those that joined since the last call; None once the submission is closed and all of them were given out."""
        followed = self._sweep.submissions[-1]
        if not followed.open:
            return None
        found = self._path.stat()
        mark = (found.st_ino, found.st_mtime_ns)
        if mark == self._mark:
            return []
        self._mark = mark
        self._sweep = manifest.read(_ROOT.value, self._sweep.sweep_id)
        last = self._sweep.submissions[-1]
        if last.submitted != followed.submitted:
            # Another driver has taken over, with a worker of its own.
            return None
        new = list(last.jobs[len(followed.jobs) :])
        self.joined += new
        return new


def _dispatch(
    sweep_id: str, share: Sequence[Job], engine: LocalEngine, folder: str, reporter: "_Reporter", more_jobs: MoreJobs
) -> Outcome:
    root = _ROOT.value
    # A bucket cannot take what a trainer prints, line by line; its logs stay on this machine.
    logs = pathlib.Path("logs") / sweep_id if run_directory.is_remote(root) else pathlib.Path(root) / "logs"
    settings = Settings(
        root=root,
        logs=logs,
        slot_locks=str(pathlib.Path(folder) / "slots"),
        command=tuple(processes.run_one_command()),
        retries=engine.retries,
        backoff_seconds=engine.backoff_seconds,
        grace_seconds=engine.grace_seconds,
    )
    pool = _pool(engine, folder)
    try:
        return Dispatcher(settings, pool).run(share, reporter.tick, more_jobs)
    finally:
        pool.close()


def _pool(engine: LocalEngine, folder: str) -> Pool:
    slots = engine.make_slots()
    if engine.name == "serial":
        return SerialPool(slots[0])
    # Imported here, because the serial engine does without it.
    from launch.engines.local.dask_pool import DaskPool

    return DaskPool(slots, folder)


class _Reporter:
    """Writes the worker's report when it changes, and prints progress."""

    def __init__(self, sweep: Manifest, share: Sequence[Job], slots: int):
        self._folder = manifest.workers_folder(_ROOT.value, sweep.sweep_id)
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._started = run_directory.now()
        self._last: Snapshot | None = None
        self._next = 0.0
        mine = {run_id for job in share for run_id in job.run_ids}
        runs = [run for run in sweep.runs if run.run_id in mine]
        self._progress = (
            SweepProgress(
                [WatchedRun(states.unit_of(_ROOT.value, run.run_id), run.label, run.seconds) for run in runs], slots
            )
            if _PROGRESS.value
            else None
        )
        self._write(Snapshot(), Outcome())

    def tick(self, snapshot: Snapshot, outcome: Outcome) -> None:
        if self._progress is not None:
            self._progress.tick(snapshot)
        if snapshot != self._last and time.monotonic() > self._next:
            self._write(snapshot, outcome)

    def finish(self, outcome: Outcome) -> None:
        self._write(self._last or Snapshot(), outcome, ended=True)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()

    def _write(self, snapshot: Snapshot, outcome: Outcome, ended: bool = False) -> None:
        report = Report(
            self._name,
            snapshot,
            dict(outcome.failures),
            self._started,
            run_directory.now(),
            ended=ended,
            interrupted=outcome.interrupted,
        )
        reports.write(self._folder, report)
        self._last = snapshot
        self._next = time.monotonic() + _REPORT_SECONDS


def _conclude(share: Sequence[Job], outcome: Outcome) -> None:
    """Raises what the exit code needs."""
    units = [states.unit_of(_ROOT.value, run_id) for job in share for run_id in job.run_ids]
    conduct.raise_for(outcome, sum(states.unit_status(unit) == "diverged" for unit in units))


if __name__ == "__main__":
    verbs.run(main)
