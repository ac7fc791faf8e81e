"""The optimiser's part of a step, shared by all stages."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from align.stage_config import TrainingConfig
from scaling.optim import optimizers
from scaling.training.step import Rates, optimizer_shardings


class TrainedState(NamedTuple):
    """The state of a stage that trains one tree.

    Attributes:
      step: int32 [], steps taken.
      trained: tree of float32 arrays: parameters, or an adapter, with heads where there are any.
      optimizer: optax state.
      extra: whatever else the stage carries from step to step (a moving reference, a running mean); an empty dict where nothing.
    """

    step: jax.Array
    trained: Any
    optimizer: Any
    extra: Any


class Updates(NamedTuple):
    """How trees are updated.

    Attributes:
      transform: the optimiser's direction.
      decayed: tree of booleans in the shape of the trained tree.
    """

    transform: optax.GradientTransformation
    decayed: Any

    @classmethod
    def of(cls, training: TrainingConfig, decayed: Any) -> "Updates":
        """As a stage is configured."""
        return cls(optimizers.direction(training.optimizer), decayed)

    def initial(self, trained: Any, extra: Any = None) -> TrainedState:
        """The state before the first step."""
        return TrainedState(jnp.zeros((), jnp.int32), trained, self.transform.init(trained), extra or {})

    def applied(self, state: TrainedState, gradients: Any, rates: Rates, extra: Any = None) -> TrainedState:
        """The state after a step with these gradients."""
        directions, optimizer = self.transform.update(gradients, state.optimizer, state.trained)
        trained = optimizers.apply_direction(
            state.trained, directions, self.decayed, rates.learning_rate, rates.weight_decay
        )
        return TrainedState(state.step + 1, trained, optimizer, state.extra if extra is None else extra)

    def shardings(self, shapes: Any, shardings: Any, replicated: NamedSharding, extra: Any = None) -> TrainedState:
        """Where a state lies, in its shape."""
        optimizer = optimizer_shardings(self.transform, shapes, shardings, replicated)
        return TrainedState(replicated, shardings, optimizer, extra or {})


def rates(training: TrainingConfig, step: int, horizon: int, sharding: NamedSharding) -> Rates:
    """The step's learning rate and weight decay, on the devices."""
    values = Rates(np.float32(training.rate(step, horizon)), np.float32(training.optimizer.weight_decay))
    return jax.device_put(values, sharding)


def shaped(shapes: Any, shardings: Any) -> Any:
    """Shapes, types and shardings of a state, with nothing allocated."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )
