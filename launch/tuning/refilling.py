"""Trains trials on an engine of this machine without rounds: as soon as one is told, the next is asked for and joins the open submission.

So a slot idles for a second after a trial and not until the slowest trial of a round has ended, and every trial is asked for with all that was known then.
"""

import dataclasses
from collections.abc import Mapping

from etils import epath

from launch import conduct, jobs, manifest
from launch.engines.local.engine import LocalEngine
from launch.manifest import Joining, Manifest
from launch.plan import PlannedRun
from launch.reports import Failure, Outcome
from launch.tuning.objective import score
from launch.tuning.prepared import Prepared
from launch.tuning.study import Study
from launch.tuning.trials import Trial
from scaling import gin_files, run_directory
from scaling.run_directory import RunDirectory


def train(prepared: Prepared, engine: LocalEngine, study: Study) -> None:
    """Asks, trains and tells until every trial is told or given up; see :func:`launch.tuning.driver.run` for arguments and errors."""
    refill = Refill(prepared, study)
    while (first := refill({})).jobs:
        sweep = _manifest(prepared).with_runs(first.runs)
        submission = engine.following(engine.plan(first.jobs, prepared.search_id, prepared.root))
        sweep = conduct.submit(sweep, submission, engine, more_may_join=not first.last)
        outcome = conduct.watch(prepared.root, sweep, engine, refill)
        refill.settle(outcome.failures)
        conduct.raise_for(Outcome(refill.refused, outcome.interrupted), diverged=0)


class Refill:
    """Keeps up to Search.parallel trials in training; called at every look at the sweep.

    Attributes:
      refused: runs whose input cannot be used, by run id; nothing more is asked for once there is one.
    """

    def __init__(self, prepared: Prepared, study: Study):
        """Asks for nothing yet. The trials that the study shows as running are the first to be trained."""
        self._prepared = prepared
        self._study = study
        # Trials that are not told, each with its run; trials of equal parameters have one run.
        self._open: dict[int, str] = {}
        self._handed_over: set[str] = set()
        self._begun = False
        self.refused: dict[str, Failure] = {}

    def __call__(self, failures: Mapping[str, Failure]) -> Joining:
        """Tells what has ended and asks for as many trials as there is room for then.

        Args:
          failures: runs that were given up so far, by run id.

        Returns:
          the runs to train, frozen.
        """
        if not self.settle(failures) and self._begun:
            return Joining()
        self._begun = True
        runs = []
        while (trial := self._next()) is not None:
            run = self._prepared.plan([trial]).runs[0]
            self._open[trial.number] = run.run_id
            if not self._tell(trial.number) and run.run_id not in self._handed_over:
                self._handed_over.add(run.run_id)
                runs.append((trial, run))
        for _, run in runs:
            self._freeze(run)
        last = bool(self.refused) or not self._study.left()
        found = [manifest.run_of(run) for _, run in runs]
        return Joining(tuple(found), tuple(_job(trial, run) for (trial, _), run in zip(runs, found, strict=True)), last)

    def settle(self, failures: Mapping[str, Failure]) -> bool:
        """Tells the study of every trial that has its record or was given up; whether there was one."""
        told = [number for number in list(self._open) if self._tell(number)]
        given_up = {
            number: failures[run_id]
            for number, run_id in self._open.items()
            if run_id in failures and run_id not in self.refused
        }
        for number, failure in given_up.items():
            if failure.bad_input:
                # It stays open: the same command tries it again once its input is mended.
                self.refused[self._open[number]] = failure
            else:
                print(f"trial {number} is given up: {failure.reason}")
                self._study.give_up(number)
                del self._open[number]
        return bool(told or given_up)

    def _tell(self, number: int) -> bool:
        record = RunDirectory(epath.Path(self._prepared.root) / self._open[number]).record()
        if record is None:
            return False
        self._study.tell(number, score(record, self._prepared.search))
        del self._open[number]
        return True

    def _next(self) -> Trial | None:
        """A trial that an earlier process left open, else a new one where there is room."""
        left_open = [trial for trial in self._study.running() if trial.number not in self._open]
        if left_open:
            return left_open[0]
        has_room = len(self._open) < self._prepared.search.parallel
        return self._study.ask() if has_room and self._study.left() and not self.refused else None

    def _freeze(self, run: PlannedRun) -> None:
        """Under the search's own id, so that `launch.status --sweep=SEARCH` shows all of its trials."""
        prepared = self._prepared
        run_directory.freeze(
            prepared.root,
            run.loaded,
            run.unit.specs[0].stores,
            name=run.label,
            sweep_id=prepared.search_id,
            tags=run.point.tags,
        )


def _job(trial: Trial, run: manifest.ManifestRun) -> jobs.Job:
    (job,) = jobs.jobs_of([run], slots=1)
    return dataclasses.replace(job, name=f"trial{trial.number:04d}")


def _manifest(prepared: Prepared) -> Manifest:
    """That of the search, with the runs and submissions of earlier processes."""
    known = manifest.read_if_there(prepared.root, prepared.search_id)
    return known or Manifest(
        sweep_id=prepared.search_id,
        name=prepared.search.name,
        command=gin_files.command_line(),
        created=run_directory.now(),
        runs=(),
    )
