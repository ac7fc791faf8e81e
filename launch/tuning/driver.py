"""The one process that drives a search: it asks for a round of trials, has an engine train their runs, and tells what the records say.

Whatever ends it, the same command continues: trials that were asked for and not told are trained first, and the study is held against the run
directories (:mod:`launch.tuning.study`).
"""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Sequence

from etils import epath

from launch import claims, conduct, manifest
from launch.engines.engine import Engine
from launch.plan import Plan, PlannedRun, make_plan
from launch.rates import Rates, rates_of
from launch.reports import Outcome
from launch.search_config import Search
from launch.sweep_config import Part, Sweep, Zip
from launch.tuning import trials
from launch.tuning.objective import score
from launch.tuning.space import Space
from launch.tuning.study import Study, require_optuna
from launch.tuning.trials import Trial
from scaling import run_directory
from scaling.errors import ConfigError, InterruptedRunError
from scaling.run_config import canonical_json
from scaling.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A search with all that is known before anything is asked.

    Attributes:
      search: the settings.
      search_id: its name with a hash of its space and of what its runs compute.
      root: the directory of the run directories.
      centre: the run in the middle of the space.
      rates: how long training takes.
    """

    search: Search
    search_id: str
    root: str
    centre: PlannedRun
    rates: Rates

    @property
    def journal(self) -> pathlib.Path:
        """The file in which Optuna keeps the study."""
        return pathlib.Path(self.root) / "searches" / f"{self.search_id}.journal"


def prepare(search: Search, root: str, flops_per_second: float | None = None) -> Prepared:
    """Checks the run in the middle of the space and names the search; writes nothing.

    Gin must hold the files of the search (see :func:`scaling.gin_files.parse`).

    Args:
      search: the settings.
      root: the directory of the run directories.
      flops_per_second: of a slot, for the prediction; by default measured on completed runs.

    Raises:
      ConfigError: the run cannot be built, has branches, or the root is not on a local disk.
      DataError: a token store is missing or altered.
    """
    if run_directory.is_remote(root):
        raise ConfigError(
            f"the root {root} is not on a local disk, where a search keeps its journal", "give a local directory"
        )
    rates = rates_of(root, flops_per_second)
    space = Space(search.space)
    (centre,) = _plan(search, root, rates, [space.centre()], [{}]).runs
    if centre.config.branches:
        raise ConfigError("a trial is one run, and RunConfig.branches is bound", "unbind RunConfig.branches")
    content = [[type(side).__name__, dataclasses.asdict(side)] for side in search.space]
    digest = hashlib.sha256(canonical_json([content, centre.run_id]).encode()).hexdigest()[:8]
    return Prepared(search, f"{search.name}-{digest}", root, centre, rates)


def run(prepared: Prepared, engine: Engine) -> Study:
    """Drives the search to its last trial.

    Args:
      prepared: see :func:`prepare`.
      engine: trains the runs of a round side by side as far as it has slots.

    Returns:
      the study, every trial told or given up.

    Raises:
      InterruptedRunError: a signal ended it, or another process drives the search.
      BadInputError: every run of a round was refused.
      ConfigError: Optuna is not installed, or the objective is not in the records.
    """
    search, root = prepared.search, prepared.root
    require_optuna()
    engine.check(root)
    with _only_driver(prepared):
        study = Study(search, prepared.search_id, prepared.journal, trials.on_disk(root, prepared.search_id, search))
        if study.rebuilt and study.told():
            print(f"the journal was written anew from {len(study.told())} recorded trials")
        while asked := _round(study, search):
            _train_and_tell(prepared, engine, study, asked)
    return study


def _round(study: Study, search: Search) -> list[Trial]:
    """The trials that are open, and new ones up to a round's worth."""
    running = study.running()
    left = search.trials - len(study.told()) - len(study.failed()) - len(running)
    new = max(0, min(left, search.parallel - len(running)))
    return [*running, *(study.ask() for _ in range(new))]


def _train_and_tell(prepared: Prepared, engine: Engine, study: Study, asked: Sequence[Trial]) -> None:
    space = Space(prepared.search.space)
    values = [space.values(trial.parameters) for trial in asked]
    first = [place for place, each in enumerate(values) if values.index(each) == place]
    tags = [trials.tags_of(prepared.search_id, asked[place].number, space, asked[place].parameters) for place in first]
    plan = _plan(prepared.search, prepared.root, prepared.rates, [values[place] for place in first], tags)
    outcome = _train(plan, engine)
    for trial, each in zip(asked, values, strict=True):
        run_id = plan.runs[first.index(values.index(each))].run_id
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


def _plan(
    search: Search, root: str, rates: Rates, values: Sequence[dict[str, object]], tags: Sequence[dict[str, str]]
) -> Plan:
    """One run for each set of values, as a sweep of its own."""
    parts = tuple(
        Part((Zip(tuple(each), (tuple(each.values()),)),), tags=own) for each, own in zip(values, tags, strict=True)
    )
    return make_plan(Sweep(search.name, root, parts), root, rates)


@contextlib.contextmanager
def _only_driver(prepared: Prepared) -> Iterator[None]:
    """Two drivers would ask for the same trials twice."""
    claim = claims.try_claim(prepared.journal.parent, f"{prepared.search_id}.lock")
    if claim is None:
        raise InterruptedRunError(
            f"another process drives the search {prepared.search_id}; the same command continues what it leaves"
        )
    try:
        yield
    finally:
        claim.close()
