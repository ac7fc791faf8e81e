"""From a manifest to finished runs: submit, watch, conclude; what `launch.sweep`, `launch.resume` and the search share."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from launch import jobs, listing, manifest, processes, reports, states, tables
from launch.engines import catalogue
from launch.engines.engine import Engine, Submission
from launch.engines.local.engine import worker_log
from launch.manifest import Joining, Manifest, ManifestRun, Submitted
from launch.plan import Plan
from launch.progress import SweepProgress, watched_runs
from launch.reports import Failure, Outcome
from launch.stop_signals import StopSignals
from scaling import run_directory
from scaling.errors import BadInputError, DivergedError, InterruptedRunError, PlumblineError
from scaling.run_directory import RunDirectory

# How often files are looked at, and how often an engine that has to ask a service is asked.
_LOOK_SECONDS = 0.3
_POLL_SECONDS = 15.0

# What joins an open submission, from the runs that its worker has given up so far.
Joins = Callable[[Mapping[str, Failure]], Joining]


def submission_of(runs: Sequence[ManifestRun], sweep_id: str, root: str, engine: Engine) -> Submission:
    """What the engine would do for these runs; touches nothing."""
    return engine.plan(jobs.jobs_of(runs, engine.slots), sweep_id, root)


def freeze(plan: Plan) -> None:
    """Makes the directories of all runs of a plan, or brings them up to date.

    Raises:
      OutputError: the root cannot be written.
    """
    for run in plan.runs:
        spec = run.unit.specs[0]
        run_directory.freeze(
            plan.root, run.loaded, spec.stores, name=run.point.label, sweep_id=plan.sweep_id, tags=run.point.tags
        )


def submit(sweep: Manifest, submission: Submission, engine: Engine, *, more_may_join: bool = False) -> Manifest:
    """Hands jobs, whose runs are frozen, to the engine, and writes the manifest before and after that.

    Args:
      sweep: holds the runs.
      submission: of the engine.
      engine: that will train them.
      more_may_join: whether the submission stays open.

    Returns:
      the manifest with this submission last.
    """
    submitted = Submitted(
        engine.name,
        dict(manifest.settings_of(engine)),
        submission.jobs,
        submitted=run_directory.now(),
        open=more_may_join,
    )
    # Before, because workers read it; after, because handles are what launch.cancel needs.
    manifest.write(submission.root, sweep.with_submission(submitted))
    handles = engine.submit(submission)
    final = sweep.with_submission(dataclasses.replace(submitted, handles=tuple(handles)))
    manifest.write(submission.root, final)
    return final


def watch(root: str, sweep: Manifest, engine: Engine, joining: Joins = lambda failures: Joining()) -> Outcome:
    """Shows progress until the last submission has ended, and says how.

    A signal asks the engine's own workers to stop, and waits for them; jobs elsewhere go on, and only the watching ends.

    Args:
      root: the directory of the run directories.
      sweep: whose last submission is watched.
      engine: that it was handed to.
      joining: asked at every look, while the submission is open, what joins it.
    """
    progress = SweepProgress(watched_runs(root, sweep), engine.slots)
    watcher = _Watcher(root, sweep, engine, progress, joining)
    try:
        return watcher.run()
    finally:
        progress.close()


class _Watcher:
    """Looks at files and, now and then, at what the engine says."""

    def __init__(self, root: str, sweep: Manifest, engine: Engine, progress: SweepProgress, joining: Joins):
        self._root = root
        self._sweep = sweep
        self._submitted = sweep.submissions[-1]
        self._engine = engine
        self._progress = progress
        self._joining = joining
        self._attached = catalogue.is_attached(engine)
        self._signals = StopSignals()
        self._next_poll = 0.0
        self._ended = False

    def run(self) -> Outcome:
        answered = 0
        with self._signals:
            while not self._has_ended():
                if self._signals.count > answered and not self._attached:
                    print(
                        f"only the watching ends; the jobs of the {self._engine.name} engine go on until launch.cancel"
                    )
                    return Outcome(interrupted=True)
                if self._signals.count > answered:
                    self._engine.cancel(self._submitted.handles)
                    answered = self._signals.count
                if self._sweep.submissions[-1].open and not self._signals.count:
                    self._join()
                self._progress.tick(reports.merged(self._reports()))
                time.sleep(_LOOK_SECONDS)
        return self._outcome()

    def _join(self) -> None:
        """Adds to the manifest what joins the submission, where its worker finds it."""
        failures = {run_id: failure for report in self._reports() for run_id, failure in report.failures.items()}
        try:
            joining = self._joining(failures)
        except BaseException:
            # Nobody would close what the worker waits for.
            self._engine.cancel(self._submitted.handles)
            raise
        if joining.jobs or joining.last:
            known = len(self._sweep.runs)
            self._sweep = self._sweep.joined_by(joining)
            manifest.write(self._root, self._sweep)
            self._progress.meter.join(watched_runs(self._root, self._sweep, first=known))

    def _has_ended(self) -> bool:
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + (0.0 if self._attached else _POLL_SECONDS)
            said = self._engine.poll(self._submitted.handles)
            # What an engine has forgotten has ended; what it cannot see ("unknown" to all) is left to the files.
            self._ended = all(said.get(handle, "ended") == "ended" for handle in self._submitted.handles)
        return self._ended or (not self._attached and not self._sweep.unfinished(self._root))

    def _reports(self) -> list[reports.Report]:
        folder = manifest.workers_folder(self._root, self._sweep.sweep_id)
        return reports.read_all(folder, since=self._submitted.submitted)

    def _outcome(self) -> Outcome:
        found = self._reports()
        failures = {run_id: failure for report in found for run_id, failure in report.failures.items()}
        interrupted = bool(self._signals.count) or any(report.interrupted for report in found)
        complete = self._attached and found and all(report.ended for report in found)
        if self._attached and not complete and not interrupted and self._sweep.unfinished(self._root):
            log = worker_log(self._root, self._sweep.sweep_id)
            raise PlumblineError(f"the worker ended early: {processes.last_line(log)} (log: {log})")
        if not self._attached:
            failures |= self._left_behind(failures)
        return Outcome(failures, interrupted)

    def _left_behind(self, known: dict[str, Failure]) -> dict[str, Failure]:
        """Runs that an engine, which has nothing left to do, did not finish."""
        units = [states.unit_of(self._root, run.run_id) for run in self._sweep.unfinished(self._root)]
        return {
            unit.run_id: Failure(states.failure_reason(unit) or f"it is {states.unit_status(unit)}", "", False)
            for unit in units
            if unit.run_id not in known
        }


def conclude(root: str, sweep: Manifest, outcome: Outcome) -> None:
    """Prints the table of all runs and raises what the exit code needs; see :func:`raise_for`."""
    runs = [listing.read(RunDirectory(f"{root}/{run_id}")) for run in sweep.runs for run_id in run.run_ids]
    print(tables.runs_table(runs))
    print(tables.counts(runs))
    raise_for(outcome, sum(run.status == "diverged" for run in runs))


def raise_for(outcome: Outcome, diverged: int) -> None:
    """Prints the failures and raises what the exit code needs.

    Args:
      outcome: of a driver.
      diverged: how many runs have a record that says so.

    Raises:
      InterruptedRunError, BadInputError, PlumblineError, DivergedError: in this order of precedence.
    """
    for run_id, failure in outcome.failures.items():
        print(f"failed: {run_id}: {failure.reason}" + (f" (log: {failure.log})" if failure.log else ""))
    if outcome.interrupted:
        raise InterruptedRunError("interrupted; what was trained is saved, and the same command continues")
    if outcome.failures and all(failure.bad_input for failure in outcome.failures.values()):
        raise BadInputError(f"{len(outcome.failures)} runs were refused", "see the reasons above")
    if outcome.failures:
        raise PlumblineError(f"{len(outcome.failures)} runs failed, as said above; the same command tries them again")
    if diverged:
        raise DivergedError(f"{diverged} runs diverged, as their records say; the others are complete")
