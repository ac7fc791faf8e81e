"""The local engine: subprocesses on this machine, one a slot, longest task first.

It decides nothing from memory that files can tell: a run is done when its record is there, so the same command after any fault does exactly
what is missing. Exit codes of a trainer (see :mod:`scaling.errors`):

* 0, 70: its runs are recorded, diverged ones as such.
* 75: interrupted by something other than this engine; its unfinished runs are started again without counting against them.
* 2: bad input; repeating it cannot help, so it is not repeated.
* anything else, a signal included: a crash. The run that it happened in is tried again alone, up to `retries` times, and the runs that had not
  begun are tried again without it.
"""

import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from launch import processes, states
from launch.claims import Claim, try_claim
from launch.plan import Task
from scaling import run_directory
from scaling.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, ConfigError

# Interruptions are free, but a trainer that something stops again and again must not spin for ever.
_MAX_INTERRUPTIONS = 20

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run that was given up.

    Attributes:
      reason: in one line.
      log: output of its last trainer.
      bad_input: whether its input cannot be used, so that trying again is pointless.
    """

    reason: str
    log: pathlib.Path
    bad_input: bool


@dataclasses.dataclass
class Outcome:
    """What an engine reports when it stops.

    Attributes:
      failures: by run id.
      interrupted: whether a signal ended it before all was done.
    """

    failures: dict[str, Failure] = dataclasses.field(default_factory=dict)
    interrupted: bool = False


@dataclasses.dataclass
class Snapshot:
    """What the engine is doing now, for whoever shows progress.

    Attributes:
      running: the tasks of its trainers.
      waiting_for_others: whether all that is left is held by other processes.
      stopping: whether it has been asked to stop.
      failed: runs that were given up.
      crashes: how often a trainer crashed; its runs are tried again until they are given up.
    """

    running: tuple[Task, ...]
    waiting_for_others: bool
    stopping: bool
    failed: int
    crashes: int = 0


@dataclasses.dataclass
class _Trainer:
    task: Task
    process: subprocess.Popen
    claims: ExitStack
    log: pathlib.Path
    # Attempts of each unit before this trainer was started.
    earlier: dict[str, int]

    def began(self, unit: states.Unit) -> bool:
        """Whether this trainer, and not one of an earlier driver, started an attempt at the unit."""
        return states.attempts(unit) > self.earlier[unit.run_id]


def require_local(root: str) -> None:
    """Refuses a root that is not on a disk of this machine.

    Raises:
      ConfigError: naming the root.
    """
    if run_directory.is_remote(root):
        raise ConfigError(
            f"the root {root} is not on a local disk, which the local engine needs", "give a local directory"
        )


class LocalEngine:
    """Trains tasks in subprocesses of this machine."""

    def __init__(
        self,
        root: str,
        slots: int,
        *,
        command: Sequence[str] | None = None,
        retries: int = 2,
        poll_seconds: float = 0.3,
        grace_seconds: float = 300.0,
    ):
        """Sets the engine up; nothing starts before :meth:`run`.

        Args:
          root: the directory of the run directories; must be on a local disk.
          slots: trainers at a time.
          command: the trainer; `--run_dir=DIR` arguments follow. By default `python -m scaling.train`.
          retries: how often a run is tried again after a crash.
          poll_seconds: pause between looks at the trainers.
          grace_seconds: how long trainers may take to save when the engine is stopped, before they are killed.

        Raises:
          ConfigError: the root is not on a local disk, or there is no slot.
        """
        require_local(root)
        if slots < 1:
            raise ConfigError(f"--slots is {slots}", "give at least one slot")
        self._root = pathlib.Path(root)
        self._command = list(command or processes.train_command([]))
        self._retries = retries
        self._poll_seconds = poll_seconds
        self._grace_seconds = grace_seconds
        cores = [] if processes.has_accelerator() else processes.available_cores()
        self._slot_cores = [processes.cores_of_slot(slot, slots, cores) if cores else [] for slot in range(slots)]
        self._trainers: list[_Trainer | None] = [None] * slots
        self._queue: collections.deque[Task] = collections.deque()
        self._crashes: collections.Counter[str] = collections.Counter()
        self._interruptions: collections.Counter[str] = collections.Counter()
        self._started = 0
        self._signals = 0
        self._outcome = Outcome()

    def run(self, tasks: Iterable[Task], on_tick: Callable[[Snapshot], None] = lambda snapshot: None) -> Outcome:
        """Trains every run of the tasks that is not finished, and returns when no more can be done.

        Run directories must be frozen already. SIGTERM, SIGINT and SIGHUP reach the trainers as SIGTERM; the engine waits until they have saved.

        Args:
          tasks: in the order in which they are started.
          on_tick: called at every look, a few times a second.
        """
        self._queue.extend(tasks)
        with self._stop_on_signals():
            try:
                while not self._signals:
                    self._reap()
                    self._fill_slots()
                    if not self._queue and not self._running():
                        return self._outcome
                    on_tick(self._snapshot())
                    time.sleep(self._poll_seconds)
                self._outcome.interrupted = True
                self._stop_trainers(on_tick)
            finally:
                # After an error, in `on_tick` too, no trainer may stay behind.
                self._stop_trainers(lambda snapshot: None)
        return self._outcome

    def _running(self) -> list[_Trainer]:
        return [trainer for trainer in self._trainers if trainer is not None]

    def _snapshot(self) -> Snapshot:
        running = tuple(trainer.task for trainer in self._running())
        return Snapshot(
            running,
            waiting_for_others=bool(self._queue) and not running,
            stopping=bool(self._signals),
            failed=len(self._outcome.failures),
            crashes=self._crashes.total(),
        )

    def _fill_slots(self) -> None:
        for slot, trainer in enumerate(self._trainers):
            if trainer is None:
                self._trainers[slot] = self._start_next(slot)

    def _start_next(self, slot: int) -> _Trainer | None:
        """Starts the first task of the queue of which something can be claimed; what others hold stays queued."""
        for _ in range(len(self._queue)):
            task = self._queue.popleft()
            claims = ExitStack()
            mine: list[states.Unit] = []
            held: list[states.Unit] = []
            descriptors: list[int] = []
            for unit in task.units:
                claim = try_claim(self._root / "logs" / "claims", unit.run_id)
                if claim is None:
                    held.append(unit)
                elif _has_work(unit, claim, held):
                    claims.callback(claim.close)
                    descriptors.append(claim.descriptor)
                    mine.append(unit)
            if held:
                self._queue.append(dataclasses.replace(task, units=tuple(held)))
            if mine:
                return self._start(slot, dataclasses.replace(task, units=tuple(mine)), claims, descriptors)
        return None

    def _start(self, slot: int, task: Task, claims: ExitStack, descriptors: list[int]) -> _Trainer:
        self._started += 1
        log = self._root / "logs" / f"{task.group}.{os.getpid()}-{self._started:03d}.log"
        cores = self._slot_cores[slot]
        earlier = {unit.run_id: states.attempts(unit) for unit in task.units}
        process = processes.start(
            [*self._command, *(f"--run_dir={self._root / unit.run_id}" for unit in task.units)],
            log,
            cores=cores,
            environment=processes.trainer_environment(cores),
            inherited=descriptors,
        )
        return _Trainer(task, process, claims, log, earlier)

    def _reap(self) -> None:
        for slot, trainer in enumerate(self._trainers):
            if trainer is not None and trainer.process.poll() is not None:
                self._trainers[slot] = None
                trainer.claims.close()
                self._settle(trainer, trainer.process.returncode)

    def _settle(self, trainer: _Trainer, code: int) -> None:
        """Decides what becomes of the runs that a trainer left unfinished."""
        unfinished = [unit for unit in trainer.task.units if not states.is_finished(unit)]
        if not unfinished:
            return
        begun = [unit for unit in unfinished if trainer.began(unit)]
        suspects = begun or unfinished
        untouched = [unit for unit in unfinished if unit not in suspects]
        if code == EXIT_BAD_INPUT:
            self._give_up(unfinished, trainer, code)
            return
        counter, limit = (
            (self._interruptions, _MAX_INTERRUPTIONS) if code == EXIT_INTERRUPTED else (self._crashes, self._retries)
        )
        if untouched:
            self._queue.appendleft(dataclasses.replace(trainer.task, units=tuple(untouched)))
        for unit in suspects:
            counter[unit.run_id] += 1
            if counter[unit.run_id] > limit:
                self._give_up([unit], trainer, code)
            else:
                # Alone, so that it cannot take others with it again.
                self._queue.append(dataclasses.replace(trainer.task, units=(unit,)))

    def _give_up(self, units: Sequence[states.Unit], trainer: _Trainer, code: int) -> None:
        for unit in units:
            said = states.failure_reason(unit) if trainer.began(unit) else ""
            said = said or processes.refusal(trainer.log, unit.run_ids) or processes.last_line(trainer.log)
            reason = said if code == EXIT_BAD_INPUT else f"{_ended(code)}: {said}"
            self._outcome.failures[unit.run_id] = Failure(reason, trainer.log, code == EXIT_BAD_INPUT)

    def _stop_trainers(self, on_tick: Callable[[Snapshot], None]) -> None:
        """Asks every trainer to save and leave; a second signal, or the end of the grace, kills."""
        for trainer in self._running():
            trainer.process.terminate()
        signals, deadline = self._signals, time.monotonic() + self._grace_seconds
        while running := [trainer for trainer in self._running() if trainer.process.poll() is None]:
            if self._signals > signals or time.monotonic() > deadline:
                for trainer in running:
                    trainer.process.kill()
            on_tick(self._snapshot())
            time.sleep(self._poll_seconds)
        for slot, trainer in enumerate(self._trainers):
            if trainer is not None:
                trainer.claims.close()
                self._trainers[slot] = None

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        def count(number: int, frame: object) -> None:
            self._signals += 1

        previous = {number: signal.signal(number, count) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _has_work(unit: states.Unit, claim: Claim, held: list[states.Unit]) -> bool:
    """Looks again under the claim: another driver may have finished the run, or a trainer without a claim may hold it."""
    if states.is_finished(unit):
        claim.close()
        return False
    if states.unit_status(unit) == "running":
        claim.close()
        held.append(unit)
        return False
    return True


def _ended(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
