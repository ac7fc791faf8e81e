"""What a task of an array runs on a node: `launch.run_one` as a subprocess that is told in time, started again and never left behind.

submitit pickles a :class:`RunTask`, and its own program calls it on every process of the task. Slurm's messages and what is made of them:

* SIGUSR2, `grace_seconds` before the time limit (and before a preemption where the cluster has SlurmctldParameters=preempt_send_user_signal): the trainer
  gets SIGTERM, saves and leaves, and submitit requeues the task.
* SIGTERM, before a preemption with a grace time: the same. But a task that is cancelled, or that Slurm is requeueing by itself, gets SIGTERM too: so
  Slurm is asked whether the task still counts as running, and only then it is requeued.
* slurmstepd is killed: the kernel sends SIGTERM to this process, which tells its trainer, so that none writes on while Slurm starts another.

Slurm never starts a task again because its program failed, so that is done here.
"""

import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from scaling.errors import EXIT_BAD_INPUT, EXIT_DIVERGED, EXIT_INTERRUPTED, PlumblineError

# Interruptions by others are free, but a trainer that something stops again and again must not spin for ever.
_MAX_INTERRUPTIONS = 20

# Trainers that end so have left a record of every run.
_RECORDED = (0, EXIT_DIVERGED)

_POLL_SECONDS = 0.2

_PR_SET_PDEATHSIG = 1


class GivenUpError(PlumblineError):
    """A trainer that failed for good; submitit prints it, and Slurm shows the task as failed."""


@dataclasses.dataclass
class RunTask:
    """Trains the runs of one job; pickled by submitit, so it holds settings alone until it is called.

    Attributes:
      root: the directory of the run directories.
      run_ids: what `launch.run_one` is given.
      python: the interpreter.
      retries: how often a crashed trainer is started again.
      backoff_seconds: pause before the first of these; each next one is twice as long.
      grace_seconds: how long a trainer that was told may take to save.
    """

    root: str
    run_ids: tuple[str, ...]
    python: str
    retries: int
    backoff_seconds: float
    grace_seconds: float

    def __post_init__(self):
        self._trainer: subprocess.Popen | None = None
        self._leaving = False

    def command(self, run_ids: Sequence[str]) -> list[str]:
        """The trainer of these runs."""
        runs = [f"--run_id={run_id}" for run_id in run_ids]
        return [self.python, "-m", "launch.run_one", f"--root={self.root}", *runs]

    def __call__(self) -> int:
        """Trains until every run has its record, or the task has to leave.

        All runs share a trainer, which compiles once. After a crash each gets one of its own, so that it cannot take others with it again.

        Returns:
          0; 70 when a run diverged; 75 when the task was told to leave.

        Raises:
          GivenUpError: naming the runs with bad input, and those that crashed after all retries.
        """
        self._listen()
        together = len(self.run_ids) > 1
        codes = {self.run_ids: self._end_of(self.run_ids, 0 if together else self.retries)}
        if together and codes[self.run_ids] not in (*_RECORDED, EXIT_BAD_INPUT):
            codes = {(run_id,): self._end_of((run_id,), self.retries) for run_id in self.run_ids}
        if self._leaving:
            return EXIT_INTERRUPTED
        failed = [f"{', '.join(ids)} (exit code {code})" for ids, code in codes.items() if code not in _RECORDED]
        if failed:
            raise GivenUpError(f"given up, as said above: {'; '.join(failed)}")
        return max(codes.values())

    def _end_of(self, run_ids: Sequence[str], retries: int) -> int:
        """The exit code that a trainer of these runs ends with, after as many crashes as it may have."""
        crashes = interruptions = 0
        while True:
            code = self._train(run_ids)
            if self._leaving or code in (*_RECORDED, EXIT_BAD_INPUT):
                return code
            if code == EXIT_INTERRUPTED:
                # By somebody else, or the runs are held by another process, which perhaps is still saving.
                interruptions += 1
                pause = self.backoff_seconds
            else:
                crashes += 1
                pause = self.backoff_seconds * 2 ** (crashes - 1)
            if crashes > retries or interruptions > _MAX_INTERRUPTIONS:
                return code
            print(f"exit code {code}; next attempt in {pause:.0f} s", file=sys.stderr, flush=True)
            self._pause(pause)

    def checkpoint(self) -> Any:
        """What submitit requeues: the same task, because the run directories hold all that was done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(dataclasses.replace(self))

    def _train(self, run_ids: Sequence[str]) -> int:
        if self._leaving:
            return EXIT_INTERRUPTED
        self._trainer = subprocess.Popen(
            self.command(run_ids), stdin=subprocess.DEVNULL, preexec_fn=_trainer_of(os.getpid())
        )
        while not _has_ended(self._trainer):
            time.sleep(_POLL_SECONDS)
        return self._trainer.wait()

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._leaving and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _listen(self) -> None:
        """Puts the trainer's notice before submitit's own answer to SIGUSR2, and makes SIGTERM mean the same."""
        requeue = signal.getsignal(signal.SIGUSR2)
        if not callable(requeue):
            # Not under Slurm: submitit's executor for debugging calls in its own process.
            return

        def leave(number: int, frame: FrameType | None) -> None:
            if self._leaving:
                return
            self._leaving = True
            self._stop_trainer()
            if number == signal.SIGUSR2 or _counts_as_running():
                requeue(number, frame)

        signal.signal(signal.SIGUSR2, leave)
        signal.signal(signal.SIGTERM, leave)
        _die_with_parent()

    def _stop_trainer(self) -> None:
        """Tells the trainer and waits until it has saved.

        Never through Popen's own methods: the signal may have come while they hold their lock.
        """
        if self._trainer is None or _has_ended(self._trainer):
            return
        os.kill(self._trainer.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.grace_seconds
        while not _has_ended(self._trainer):
            if time.monotonic() > deadline:
                os.kill(self._trainer.pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)


def _has_ended(process: subprocess.Popen) -> bool:
    """Whether a child has ended, without collecting its exit code and without the lock of Popen."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _counts_as_running() -> bool:
    """Whether Slurm still means this task to run: it is about to be preempted, and neither cancelled nor requeued already."""
    command = ["squeue", "--noheader", f"--jobs={os.environ['SLURM_JOB_ID']}", "--format=%T"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    return answer.stdout.strip() == "RUNNING"


def _trainer_of(parent: int) -> Callable[[], None]:
    """What a trainer's process does first: it is deaf to SIGUSR2, and gets SIGTERM from the kernel when its parent dies, however that dies."""
    prctl = getattr(
        ctypes.CDLL(None), "prctl", None
    )  # Looked up before the fork, where imports are not safe; Linux only.

    def prepare() -> None:
        # Slurm signals every process of a task, and this signal would kill a trainer that does not know it. It is told by SIGTERM.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            # The parent may have died between fork and prctl; then no signal would ever come.
            if os.getppid() != parent:
                os._exit(EXIT_INTERRUPTED)

    return prepare


def _die_with_parent() -> None:
    """The same for this process, whose parent is slurmstepd."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
