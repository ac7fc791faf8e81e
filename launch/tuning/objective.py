"""What a record scores."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from launch.search_config import Search
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Score:
    """The outcome of a trial.

    Attributes:
      value: the objective; for a diverged run Search.diverged_value.
      diverged: whether the run diverged.
    """

    value: float
    diverged: bool = False


def score(record: Mapping[str, Any], search: Search) -> Score:
    """The score of a recorded run.

    Args:
      record: `record.json`.
      search: names the objective.

    Raises:
      ConfigError: the record has no such field, or no number in it.
    """
    if record["status"] == "diverged":
        return Score(search.diverged_value, diverged=True)
    path = search.objective or f"losses.{record['primary_domain']}.nats_per_token"
    value: Any = record
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = ", ".join(value) if isinstance(value, Mapping) else "nothing"
            raise ConfigError(
                f"Search.objective names {path!r}, which the record of {record['run_id']} does not have",
                f"there are {known}",
            )
        value = value[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(
            f"Search.objective names {path!r}, which is {value!r} in the record of {record['run_id']}", "name a number"
        )
    return Score(float(value))
