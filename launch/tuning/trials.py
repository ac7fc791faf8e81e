"""The trials of a search as its run directories show them."""

import dataclasses
import json
from typing import Any

from etils import epath

from launch.search_config import Search
from launch.tuning.objective import Score, score
from launch.tuning.space import Space
from scaling.run_directory import RunDirectory

# Tags of a trial's run, beside one for each binding of the space.
SEARCH_TAG, TRIAL_TAG = "search", "trial"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
      number: from 0, in the order of asking.
      parameters: see :class:`launch.tuning.space.Space`.
      score: None while there is no record.
    """

    number: int
    parameters: dict[str, Any]
    score: Score | None = None


def tags_of(search_id: str, number: int, space: Space, parameters: dict[str, Any]) -> dict[str, str]:
    """What the run of a trial is tagged with: all that :func:`on_disk` needs."""
    return {SEARCH_TAG: search_id, TRIAL_TAG: str(number), **space.tags(parameters)}


def on_disk(root: str, search_id: str, search: Search) -> list[Trial]:
    """Every trial that was frozen, in the order of their numbers.

    Args:
      root: the directory of the run directories.
      search_id: the trials of which search.
      search: names the objective and the space.

    Raises:
      ConfigError: a record lacks the objective.
    """
    space = Space(search.space)
    found: dict[int, Trial] = {}
    folder = epath.Path(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (path / "spec.json").exists():
            continue
        tags = json.loads((path / "spec.json").read_text())["tags"]
        if tags.get(SEARCH_TAG) == search_id and (parameters := space.parameters(tags)) is not None:
            record = RunDirectory(path).record()
            number = int(tags[TRIAL_TAG])
            found[number] = Trial(number, parameters, score(record, search) if record else None)
    return [found[number] for number in sorted(found)]
