"""Trains trials in rounds: all of one are trained and told before the next is asked for.

For engines of which each submission is a whole sweep, and where :attr:`launch.search_config.Search.rounds` asks for it.
"""

from collections.abc import Sequence

from etils import epath

from launch import conduct, manifest
from launch.engines.engine import Engine
from launch.plan import Plan
from launch.reports import Outcome
from launch.tuning.objective import score
from launch.tuning.prepared import Prepared
from launch.tuning.study import Study
from launch.tuning.trials import Trial
from scaling.run_directory import RunDirectory


def train(prepared: Prepared, engine: Engine, study: Study) -> None:
    """Asks, trains and tells until every trial is told or given up; see :func:`launch.tuning.driver.run` for arguments and errors."""
    while asked := _round(prepared, study):
        _train_and_tell(prepared, engine, study, asked)


def _round(prepared: Prepared, study: Study) -> list[Trial]:
    """The trials that are open, and new ones up to a round's worth."""
    running = study.running()
    new = max(0, min(study.left(), prepared.search.parallel - len(running)))
    return [*running, *(study.ask() for _ in range(new))]


def _train_and_tell(prepared: Prepared, engine: Engine, study: Study, asked: Sequence[Trial]) -> None:
    # Trials of equal parameters are one run.
    parameters = [trial.parameters for trial in asked]
    first = [place for place, each in enumerate(parameters) if parameters.index(each) == place]
    plan = prepared.plan([asked[place] for place in first])
    outcome = _train(plan, engine)
    for trial in asked:
        run_id = plan.runs[first.index(parameters.index(trial.parameters))].run_id
        record = RunDirectory(epath.Path(prepared.root) / run_id).record()
        if record is not None:
            study.tell(trial.number, score(record, prepared.search))
        elif run_id in outcome.failures and not outcome.failures[run_id].bad_input:
            print(f"trial {trial.number} is given up: {outcome.failures[run_id].reason}")
            study.give_up(trial.number)
    refused = {run_id: failure for run_id, failure in outcome.failures.items() if failure.bad_input}
    conduct.raise_for(Outcome(refused, outcome.interrupted), diverged=0)


def _train(plan: Plan, engine: Engine) -> Outcome:
    """Trains the runs that have no record yet."""
    conduct.freeze(plan)
    round_ = manifest.manifest_of(plan)
    submission = conduct.submission_of(round_.unfinished(plan.root), plan.sweep_id, plan.root, engine)
    if not submission.jobs:
        return Outcome()
    return conduct.watch(plan.root, conduct.submit(round_, submission, engine), engine)
