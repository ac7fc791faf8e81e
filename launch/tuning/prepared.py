"""A search with all that is known before anything is asked, and the plan of a trial."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

from launch.plan import Plan, PlannedRun, make_plan
from launch.rates import Rates, rates_of
from launch.search_config import Search
from launch.sweep_config import Part, Sweep, Zip
from launch.tuning import trials
from launch.tuning.space import Space
from launch.tuning.trials import Trial
from scaling import run_directory
from scaling.errors import ConfigError
from scaling.run_config import canonical_json


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A search that was checked.

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

    def plan(self, asked: Sequence[Trial]) -> Plan:
        """One run for each trial, as a sweep of its own; their parameters differ."""
        space = Space(self.search.space)
        values = [space.values(trial.parameters) for trial in asked]
        tags = [trials.tags_of(self.search_id, trial.number, space, trial.parameters) for trial in asked]
        return _plan(self.search, self.root, self.rates, values, tags)


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


def _plan(
    search: Search, root: str, rates: Rates, values: Sequence[dict[str, object]], tags: Sequence[dict[str, str]]
) -> Plan:
    parts = tuple(
        Part((Zip(tuple(each), (tuple(each.values()),)),), tags=own) for each, own in zip(values, tags, strict=True)
    )
    return make_plan(Sweep(search.name, root, parts), root, rates)
