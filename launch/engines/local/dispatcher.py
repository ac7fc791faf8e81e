"""Drives the jobs of this machine to their ends: what a crash, an interruption or a refusal means for each run.

It decides nothing from memory that files can tell: a run is done when its record is there, so the same command after any fault does exactly
what is missing. Exit codes of `launch.run_one` (see :mod:`scaling.errors`):

* 0, 70: its runs are recorded, diverged ones as such.
* 75: interrupted by something other than this driver; its unfinished runs are started again without counting against them.
* 2: bad input; repeating it cannot help, so it is not repeated.
* anything else, a signal included: a crash. The run that it happened in is tried again alone after a pause that doubles, up to `retries` times, and
  the runs that had not begun are tried again without it.
"""

import collections
import dataclasses
import itertools
import os
import pathlib
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence

from launch import processes, states
from launch.engines.engine import Job
from launch.engines.local.job_process import Call, End
from launch.engines.local.pools import Pool
from launch.reports import Failure, Outcome, Snapshot
from launch.stop_signals import StopSignals
from scaling.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED

# Interruptions are free, but a trainer that something stops again and again must not spin for ever.
_MAX_INTERRUPTIONS = 20

# A run that another process holds is looked at again after so many seconds.
_HELD_PAUSE_SECONDS = 1.0

# No pause after a crash is longer.
_MAX_BACKOFF_SECONDS = 300.0

# Called with what the driver is doing and with its outcome so far.
OnTick = Callable[[Snapshot, Outcome], None]

# Called at every look: jobs that have joined, or None when no more will.
MoreJobs = Callable[[], Sequence[Job] | None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How jobs are run.

    Attributes:
      root: the directory of the run directories.
      logs: a folder on a local disk for the output of trainers.
      slot_locks: a folder on this machine for claims on slots.
      command: what takes `--root` and `--run_id` arguments.
      retries: how often a run is tried again after a crash.
      backoff_seconds: pause before the first of these; each next one is twice as long.
      grace_seconds: how long trainers may take to save when the driver is stopped, before they are killed.
      poll_seconds: pause between looks.
    """

    root: str
    logs: pathlib.Path
    slot_locks: str
    command: tuple[str, ...]
    retries: int = 2
    backoff_seconds: float = 1.0
    grace_seconds: float = 300.0
    poll_seconds: float = 0.3


class Dispatcher:
    """Runs jobs in a pool."""

    def __init__(self, settings: Settings, pool: Pool):
        """Starts nothing before :meth:`run`."""
        self._settings = settings
        self._pool = pool
        self._open: dict[str, Job] = {}
        self._held: set[str] = set()
        self._later: list[tuple[float, Job]] = []
        self._crashes: collections.Counter[str] = collections.Counter()
        self._interruptions: collections.Counter[str] = collections.Counter()
        self._numbers = itertools.count(1)
        self._signals = StopSignals()
        self._outcome = Outcome()

    def run(
        self,
        jobs: Iterable[Job],
        on_tick: OnTick = lambda snapshot, outcome: None,
        more_jobs: MoreJobs = lambda: None,
    ) -> Outcome:
        """Trains every run of the jobs that is not finished, and returns when no more can be done.

        Run directories must be frozen already. SIGTERM, SIGINT and SIGHUP reach the trainers as SIGTERM; the driver waits until they have saved.
        A second signal kills them.

        Args:
          jobs: those with more predicted seconds are started first.
          on_tick: called at every look, a few times a second.
          more_jobs: asked at every look until it answers None; until then the driver waits for jobs even if it has none.
        """
        expecting = True
        with self._signals:
            for job in jobs:
                self._submit(job)
            try:
                while not self._signals.count and (self._open or self._later or expecting):
                    expecting = expecting and self._join(more_jobs())
                    self._step(on_tick)
                self._outcome.interrupted = bool(self._signals.count)
            finally:
                # After an error, in `on_tick` too, no trainer may stay behind.
                self._stop()
        return self._outcome

    def _join(self, jobs: Sequence[Job] | None) -> bool:
        """Submits jobs that have joined; whether more may."""
        for job in jobs or ():
            self._submit(job)
        return jobs is not None

    def _step(self, on_tick: OnTick) -> None:
        due = [job for when, job in self._later if when <= time.monotonic()]
        self._later = [(when, job) for when, job in self._later if when > time.monotonic()]
        for job in due:
            self._submit(job)
        end = self._pool.next_end(self._settings.poll_seconds)
        while end is not None:
            self._settle(end)
            end = self._pool.next_end(0)
        on_tick(self._snapshot(), self._outcome)

    def _submit(self, job: Job) -> None:
        number = next(self._numbers)
        key = f"{job.name}.{socket.gethostname()}-{os.getpid()}-{number:03d}"
        settings = self._settings
        log = str(settings.logs / f"{key}.log")
        self._open[key] = job
        self._pool.submit(
            Call(key, settings.root, job.run_ids, log, settings.command, settings.slot_locks, settings.grace_seconds),
            priority=job.seconds,
        )

    def _settle(self, end: End) -> None:
        """Decides what becomes of the runs that a call left unfinished."""
        job = self._open.pop(end.key)
        self._held.difference_update(job.run_ids)
        units = [states.unit_of(self._settings.root, run_id) for run_id in job.run_ids]
        unfinished = [unit for unit in units if not states.is_finished(unit)]
        held = [unit for unit in unfinished if unit.run_id in end.held]
        self._held.update(unit.run_id for unit in held)
        self._again(job, held, _HELD_PAUSE_SECONDS)
        unfinished = [unit for unit in unfinished if unit.run_id not in end.held]
        if not unfinished:
            return
        if end.code == EXIT_BAD_INPUT:
            self._give_up(unfinished, end)
            return
        begun = [unit for unit in unfinished if unit.run_id in end.begun]
        suspects = begun or unfinished
        self._again(job, [unit for unit in unfinished if unit not in suspects], 0.0)
        for unit in suspects:
            # Alone, so that it cannot take others with it again.
            self._retry(job, unit, end)

    def _retry(self, job: Job, unit: states.Unit, end: End) -> None:
        free = end.code == EXIT_INTERRUPTED
        counter, limit = (self._interruptions, _MAX_INTERRUPTIONS) if free else (self._crashes, self._settings.retries)
        counter[unit.run_id] += 1
        if counter[unit.run_id] > limit:
            self._give_up([unit], end)
            return
        pause = self._settings.backoff_seconds * 2 ** (counter[unit.run_id] - 1)
        self._again(job, [unit], min(pause, _MAX_BACKOFF_SECONDS))

    def _again(self, job: Job, units: Sequence[states.Unit], pause: float) -> None:
        if units:
            part = dataclasses.replace(job, run_ids=tuple(unit.run_id for unit in units))
            self._later.append((time.monotonic() + pause, part))

    def _give_up(self, units: Sequence[states.Unit], end: End) -> None:
        log = pathlib.Path(end.log) if end.log else None
        for unit in units:
            said = states.failure_reason(unit) if unit.run_id in end.begun else ""
            if not said and log is not None:
                said = processes.refusal(log, unit.run_ids) or processes.last_line(log)
            reason = said if end.code == EXIT_BAD_INPUT else f"{_ended(end)}: {said}"
            self._outcome.failures[unit.run_id] = Failure(reason, end.log, end.code == EXIT_BAD_INPUT)

    def _snapshot(self) -> Snapshot:
        left = {run_id for job in (*self._open.values(), *(job for _, job in self._later)) for run_id in job.run_ids}
        return Snapshot(
            waiting_for_others=bool(left) and left <= self._held,
            stopping=bool(self._signals.count),
            failed=len(self._outcome.failures),
            crashes=self._crashes.total(),
        )

    def _stop(self) -> None:
        """Asks every trainer to save and leave; a second signal kills."""
        asked = self._signals.count
        while self._open:
            self._pool.stop(kill=self._signals.count > asked)
            end = self._pool.next_end(self._settings.poll_seconds)
            if end is not None:
                del self._open[end.key]


def _ended(end: End) -> str:
    if not end.log:
        return "the workers that should have trained it were killed"
    if end.code < 0:
        return f"killed by {signal.Signals(-end.code).name}"
    return f"exit code {end.code}"
