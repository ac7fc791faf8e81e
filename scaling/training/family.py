"""Several runs in one process: a trunk with its branches, or all runs of a sweep that share a compiled shape."""

import os
import sys
from collections.abc import Iterable, Sequence

import jax

from scaling import distributed
from scaling.errors import BadInputError, InterruptedRunError, os_errors_as_bad_input
from scaling.run_directory import RunDirectory
from scaling.training.interruption import Interruption
from scaling.training.isolation import Outcome, reported
from scaling.training.population import grouping
from scaling.training.population.train import train_population
from scaling.training.run import train_run


def train_directories(paths: Iterable[str | os.PathLike[str]], population: grouping.Size = 0) -> dict[str, Outcome]:
    """Trains frozen runs, one after another or those that are alike side by side; the failure of one leaves the others alone.

    A trunk is followed by its branches, unless it did not come to its end: they share its outcome then.

    Args:
      paths: run directories.
      population: how many runs may be trained side by side (:func:`scaling.training.population.grouping.grouped`).

    Returns:
      The status of every run, by run id.

    Raises:
      InterruptedRunError: a signal came; what was in hand was saved and the rest not begun.
      ConfigError: populations and several processes do not go together.
    """
    with Interruption() as interruption:
        return _train_families([RunDirectory(path) for path in paths], population, interruption)


def _train_families(
    directories: Sequence[RunDirectory], population: grouping.Size, interruption: Interruption
) -> dict[str, Outcome]:
    statuses: dict[str, Outcome] = {}
    for together in grouping.grouped(directories, population):
        outcomes = _train_together(together, interruption)
        statuses |= outcomes
        free: list[RunDirectory] = []
        for directory in together:
            outcome, branches = outcomes[directory.path.name], _branches(directory)
            if outcome in ("completed", "diverged"):
                free += branches
            elif branches:
                print(f"{directory.path.name}: its branches wait until it is finished", file=sys.stderr, flush=True)
                statuses |= {branch.path.name: outcome for branch in branches}
        if free:
            statuses |= _train_families(free, population, interruption)
    return statuses


def _branches(directory: RunDirectory) -> list[RunDirectory]:
    """The branches of a trunk; none of a directory that cannot be read, of which its own training will say so."""
    try:
        return [RunDirectory(directory.path.parent / branch) for branch in directory.spec.branches]
    except (BadInputError, OSError):
        return []


def _train_together(directories: Sequence[RunDirectory], interruption: Interruption) -> dict[str, Outcome]:
    if interruption.requested:
        raise InterruptedRunError("stopped between two runs; the same command continues")
    if len(directories) > 1:
        return train_population(directories, interruption, grouping.fastest_form(jax.default_backend()))
    (directory,) = directories
    return {directory.path.name: _train_isolated(directory, interruption)}


def _train_isolated(directory: RunDirectory, interruption: Interruption) -> Outcome:
    try:
        with os_errors_as_bad_input():
            return train_run(directory, interruption)
    except InterruptedRunError:
        raise
    except Exception as error:
        if distributed.process_count() > 1:
            # Its peers may not have failed, and wait for it in a collective: only all together can begin the next run.
            raise
        return reported(directory, error)
