"""What all stages that take optimiser steps share: how their state begins, what it looks like, and their learning rate."""

from collections.abc import Callable
from typing import Any

import jax

from align.training import update


class TrainedStage:
    """The part of :class:`align.training.stage.Stage` that does not depend on what is trained.

    A subclass sets, when it is built:

    Attributes:
      steps: of the whole stage.
      units_per_step: of its `unit`.
      _config: with a field `training`.
      _beginnings: arguments of `_initial`: parameters of the models that the state is made of, on the mesh.
      _state_shardings: of the state.
      _init: `_initial`, compiled for these shardings.
    """

    unit: str
    steps: int
    units_per_step: int
    _config: Any
    _beginnings: tuple[Any, ...]
    _state_shardings: update.TrainedState
    _init: Callable[..., update.TrainedState]

    def _initial(self, *beginnings: Any) -> update.TrainedState:
        """The state before the first step; traced."""
        raise NotImplementedError

    def initial_state(self) -> update.TrainedState:
        """See `Stage`."""
        return self._init(*self._beginnings)

    def abstract_state(self) -> update.TrainedState:
        """See `Stage`."""
        return update.shaped(jax.eval_shape(self._initial, *self._beginnings), self._state_shardings)

    def learning_rate(self, step: int) -> float:
        """See `Stage`."""
        return self._config.training.rate(step, self.steps)

    def check(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing beyond finiteness, which the loop looks at."""
