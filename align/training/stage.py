"""What the loop asks of a stage."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax

from align.accounting.work import Work
from align.training.stage_directory import StageDirectory

# A tree of arrays with the fields `step` (int32 []) and whatever else must survive a kill.
State = Any


class Stage(Protocol):
    """One stage, built and ready.

    The batch of a step, and every random number in it, is a function of (seed, step); so the state is all that a checkpoint holds.

    Attributes:
      steps: of the whole stage.
      unit: what a step consumes ("pairs", "sequences", "episodes"), for the progress line.
      units_per_step: how many of it.
    """

    steps: int
    unit: str
    units_per_step: int

    def initial_state(self) -> State:
        """The state before the first step, on the mesh."""

    def abstract_state(self) -> State:
        """Shapes, types and shardings of the state, with nothing allocated."""

    def learning_rate(self, step: int) -> float:
        """Of a step."""

    def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
        """Takes a step, without waiting for the device where that can be helped; the state is donated."""

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """Asserts what must hold of a finished step, such as a ratio of exactly 1 on PPO's first minibatch."""

    def measure(self, state: State, step: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        """What the state is worth: `policy` (a row of measurements.jsonl) and whatever else the stage measures, as JSON values."""

    def work(self, steps: int, rows: Sequence[Mapping[str, Any]]) -> Work:
        """What so many steps, and the measurements among these rows of `metrics.jsonl`, computed."""

    def conclude(self, state: State, directory: StageDirectory) -> dict[str, Any]:
        """Writes the final model and returns the stage's own fields of the record."""
