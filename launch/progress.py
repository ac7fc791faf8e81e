"""Progress over a sweep, read from its run directories."""

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from launch import states
from launch.manifest import Manifest
from launch.reports import Snapshot
from scaling.training.progress import duration, si

# The progress line names so many of the runs that are being trained.
_NAMED_RUNS = 3

# The time between two looks is at least so many times as long as a look takes.
_LOOK_SHARE = 20


@dataclasses.dataclass(frozen=True)
class WatchedRun:
    """A run of a sweep whose files are watched.

    Attributes:
      unit: its directory, or those of a trunk and its branches; they are frozen.
      label: a short name.
      seconds: predicted.
    """

    unit: states.Unit
    label: str
    seconds: float


def watched_runs(root: str, manifest: Manifest, first: int = 0) -> list[WatchedRun]:
    """The runs of a sweep, those before the place `first` left out."""
    return [WatchedRun(states.unit_of(root, run.run_id), run.label, run.seconds) for run in manifest.runs[first:]]


@dataclasses.dataclass(frozen=True)
class Work:
    """How far the runs of a sweep are.

    Attributes:
      models: finished models that it ends with.
      done: those that are recorded, diverged ones included.
      diverged: those that diverged.
      tokens: trained so far, over all runs.
      seconds: the predicted seconds of those tokens.
      left: the predicted seconds of the rest.
      longest_left: of the run with the most work left.
      training: labels of the runs that some process is training.
    """

    models: int
    done: int
    diverged: int
    tokens: int
    seconds: float
    left: float
    longest_left: float
    training: tuple[str, ...] = ()


class WorkMeter:
    """Reads the work done; a run that is finished is read once."""

    def __init__(self, runs: Sequence[WatchedRun]):
        """Reads nothing yet."""
        self._runs = list(runs)
        self._finished: dict[str, list[states.Status]] = {}

    def join(self, runs: Sequence[WatchedRun]) -> None:
        """Looks at more runs from now on."""
        self._runs += runs

    def read(self) -> Work:
        """Looks at the files of every run that was not finished at the last look."""
        tokens, seconds, lefts, training = 0, 0.0, [], []
        for run in self._runs:
            total = sum(states.own_tokens(spec) for spec in run.unit.specs)
            run_tokens = total if self._model_outcomes(run) is not None else min(total, states.tokens_done(run.unit))
            share = run_tokens / total if total else 1.0
            tokens += run_tokens
            seconds += share * run.seconds
            lefts.append((1 - share) * run.seconds)
            if share < 1 and any(directory.is_held() for directory in run.unit.directories):
                training.append(run.label)
        outcomes = [status for run in self._runs for status in self._recorded(run)]
        models = sum(len(run.unit.models) for run in self._runs)
        diverged = outcomes.count("diverged")
        longest = max(lefts, default=0.0)
        return Work(models, len(outcomes), diverged, tokens, seconds, sum(lefts), longest, tuple(training))

    def _model_outcomes(self, run: WatchedRun) -> list[states.Status] | None:
        """The outcomes of a finished unit's models; None while it is not finished."""
        if run.unit.run_id not in self._finished and states.is_finished(run.unit):
            self._finished[run.unit.run_id] = states.model_outcomes(run.unit)
        return self._finished.get(run.unit.run_id)

    def _recorded(self, run: WatchedRun) -> list[states.Status]:
        return self._finished.get(run.unit.run_id) or states.model_outcomes(run.unit)


class SweepProgress:
    """One line about the whole sweep: rewritten in place on a terminal, appended now and then elsewhere."""

    def __init__(
        self, runs: Sequence[WatchedRun], slots: int, stream: TextIO | None = None, every_seconds: float | None = None
    ):
        """Starts the clock.

        Args:
          runs: of the sweep, finished ones included.
          slots: jobs at a time.
          stream: where lines go; standard output by default.
          every_seconds: least time between lines; by default 2 on a terminal, 15 elsewhere.
        """
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._every_seconds = every_seconds if every_seconds is not None else (2.0 if self._terminal else 15.0)
        self._slots = slots
        self.meter = WorkMeter(runs)
        self._started = self._last = time.monotonic()
        self._begin = self.meter.read()
        self._shown_done = self._begin.done

    def tick(self, snapshot: Snapshot) -> None:
        """Prints the line if it is due."""
        now = time.monotonic()
        if now - self._last < self._every_seconds:
            return
        self._write(self.line(self.meter.read(), snapshot, now - self._started))
        self._last = time.monotonic()
        # Looking at thousands of directories takes a while, and must not become what the machine is busy with.
        self._every_seconds = max(self._every_seconds, _LOOK_SHARE * (self._last - now))

    def close(self) -> None:
        """Ends a line that was rewritten in place."""
        if self._terminal:
            print(file=self._stream, flush=True)

    def line(self, work: Work, snapshot: Snapshot, elapsed: float) -> str:
        """The text of the line.

        Args:
          work: read just now.
          snapshot: what the workers say.
          elapsed: seconds since the clock was started.
        """
        parts = [f"{work.done}/{work.models} models"]
        if snapshot.stopping:
            parts.append("stopping, trainers are saving")
        elif snapshot.waiting_for_others:
            parts.append("waiting for runs that other processes hold")
        else:
            parts.append(_training(work.training) if work.training else "between runs" if work.tokens else "starting")
        if work.diverged:
            parts.append(f"{work.diverged} diverged")
        if snapshot.crashes:
            parts.append(f"{snapshot.crashes} crashes (see logs/)")
        if snapshot.failed:
            parts.append(f"{snapshot.failed} failed")
        speed = (work.tokens - self._begin.tokens) / elapsed if elapsed > 0 else 0.0
        parts += [
            f"{si(speed)} tokens/s",
            f"{duration(elapsed)} elapsed",
            f"about {duration(self._left(work, elapsed))} left",
        ]
        return " | ".join(parts)

    def _left(self, work: Work, elapsed: float) -> float:
        """Seconds left: the predicted ones, corrected by how the prediction has fared so far in this process."""
        predicted = work.seconds - self._begin.seconds
        if not predicted:
            return math.nan
        slots = max(1, self._slots)
        # The prediction weighs like a minute of measurement, so the first noisy seconds do not swing the estimate.
        prior = 60.0
        factor = (elapsed * slots + prior) / (predicted + prior)
        return factor * max(work.left / slots, work.longest_left)

    def _write(self, line: str) -> None:
        start, end = ("\r\x1b[K", "") if self._terminal else ("", "\n")
        print(f"{start}{line}", end=end, file=self._stream, flush=True)


def _training(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED_RUNS} more" if len(labels) > _NAMED_RUNS else ""
    return f"training {', '.join(labels[:_NAMED_RUNS])}{more}"
