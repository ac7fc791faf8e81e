"""Several runs in one process: a trunk with its branches, or all runs of a sweep that share a compiled shape."""

import os
import sys
import traceback
from collections.abc import Iterable
from typing import Literal

from scaling import distributed
from scaling.errors import BadInputError, InterruptedRunError, os_errors_as_bad_input
from scaling.run_directory import BusyError, RunDirectory, Status
from scaling.training.interruption import Interruption
from scaling.training.run import train_run

# What became of a run in this process; "bad_input": nothing but the user can make it run.
Outcome = Status | Literal["bad_input"]


def train_directories(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Outcome]:
    """Trains frozen runs one after another; the failure of one leaves the others alone.

    A trunk is followed by its branches, unless it did not come to its end: they share its outcome then.

    Args:
      paths: run directories.

    Returns:
      The status of every run, by run id.

    Raises:
      InterruptedRunError: a signal came; the run in hand was saved and the rest not begun.
    """
    statuses: dict[str, Outcome] = {}
    with Interruption() as interruption:
        for path in paths:
            statuses |= _train_family(RunDirectory(path), interruption)
    return statuses


def _train_family(directory: RunDirectory, interruption: Interruption) -> dict[str, Outcome]:
    branches = _branches(directory)
    outcome = _train_isolated(directory, interruption)
    statuses = {directory.path.name: outcome}
    ended = outcome in ("completed", "diverged")
    if branches and not ended:
        print(f"{directory.path.name}: its branches wait until it is finished", file=sys.stderr, flush=True)
    for branch in branches:
        statuses[branch.path.name] = _train_isolated(branch, interruption) if ended else outcome
    return statuses


def _branches(directory: RunDirectory) -> list[RunDirectory]:
    """The branches of a trunk; none of a directory that cannot be read, of which its own training will say so."""
    try:
        return [RunDirectory(directory.path.parent / branch) for branch in directory.spec.branches]
    except (BadInputError, OSError):
        return []


def _train_isolated(directory: RunDirectory, interruption: Interruption) -> Outcome:
    if interruption.requested:
        raise InterruptedRunError("stopped between two runs; the same command continues")
    try:
        with os_errors_as_bad_input():
            return train_run(directory, interruption)
    except InterruptedRunError:
        raise
    except Exception as error:
        if distributed.process_count() > 1:
            # Its peers may not have failed, and wait for it in a collective: only all together can begin the next run.
            raise
        return _reported(directory, error)


def _reported(directory: RunDirectory, error: Exception) -> Outcome:
    """Prints why a run failed, and goes on: a fault of one run must not cost the others of its group."""
    if isinstance(error, BusyError):
        print(f"error: {error}", file=sys.stderr, flush=True)
        return "failed"
    if isinstance(error, BadInputError):
        print(f"error: {directory.path.name}: {error}", file=sys.stderr, flush=True)
        return "bad_input"
    trace = "".join(traceback.format_exception(error))
    print(f"error: {directory.path.name} failed:\n{trace}", file=sys.stderr, flush=True)
    return "failed"
