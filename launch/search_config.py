"""A search, as data: what `configs/searches/*.gin` bind."""

import dataclasses
import math
from typing import Literal

from launch.sweep_config import Grid, Range, require_kinds
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Search:
    """Trials over a space of bindings, each a run of its own, chosen by what the earlier ones scored.

    Attributes:
      name: a readable name.
      root: the directory that holds the run directories; --root overrides it.
      space: intervals, and choices among listed values; one binding each.
      trials: how many runs; raising it later continues the search.
      parallel: trials in training at a time: as many as the engine has slots keeps all of them busy, and more make each be chosen on less.
      rounds: waits for all of so many trials before it asks for the next. That makes a search with `parallel` above 1 the same each time, and trains trials
        of one compiled step in one process (where they differ in rate, decay or seed alone, side by side on accelerators), while slots wait for the
        slowest. Engines of other machines have it always.
      sampler: "tpe" (Bergstra et al. 2011, as Optuna has it) or "random".
      startup: trials at random before "tpe" begins to model.
      seed: of the sampler. What it suggests for a trial depends on the seed, the trial's number and what was told before.
      objective: a field of the record by its path, such as "train_loss" or "losses.speeches.bits_per_byte"; empty is the held-out loss of the
        record's primary domain, in nats per token.
      direction: "minimize" or "maximize".
      diverged_value: what a diverged trial is said to have scored: it is told as pruned, and models only take it for worse than any other.
    """

    name: str
    root: str
    space: tuple[Range | Grid, ...]
    trials: int
    parallel: int = 1
    rounds: bool = False
    sampler: Literal["tpe", "random"] = "tpe"
    startup: int = 8
    seed: int = 0
    objective: str = ""
    direction: Literal["minimize", "maximize"] = "minimize"
    diverged_value: float = 1e3

    def __post_init__(self):
        if not self.space:
            raise ConfigError(f"Search.space of {self.name!r} is empty", "name at least one Range or Grid")
        require_kinds("Search.space", self.space, Range, Grid)
        names = [side.binding for side in self.space]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"Search.space sets {name!r} {names.count(name)} times", "remove all but one")
        for field, least in (("trials", 1), ("parallel", 1), ("startup", 0), ("seed", 0)):
            if getattr(self, field) < least:
                raise ConfigError(f"Search.{field} is {getattr(self, field)!r}", f"give a number of at least {least}")
        if not math.isfinite(self.diverged_value):
            raise ConfigError(f"Search.diverged_value is {self.diverged_value!r}", "give a finite number")
