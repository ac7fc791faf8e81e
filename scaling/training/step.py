"""The compiled programs of training: initialise, step, and the loss of every held-out token.

What changes between runs of one shape (seed, learning rate, decay, horizon) is an input, so such runs share one compilation.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling import mesh as meshes
from scaling.data import device
from scaling.data.batches import Batch
from scaling.models import loss as losses
from scaling.models.config import TransformerConfig
from scaling.models.parameters import tree
from scaling.models.transformer import Transformer, init_parameters
from scaling.optim import optimizers
from scaling.optim.config import OptimizerConfig
from scaling.run_config import ExecutionConfig, RunConfig


class TrainState(NamedTuple):
    """Everything that a checkpoint holds.

    Attributes:
      step: int32 [], optimiser steps taken.
      parameters: tree of float32 arrays.
      optimizer: optax state.
    """

    step: jax.Array
    parameters: Any
    optimizer: Any


class Rates(NamedTuple):
    """The hyper-parameters that vary by step or by run: float32 [] each."""

    learning_rate: Any
    weight_decay: Any


class StepMetrics(NamedTuple):
    """Measured by one step, on the device.

    Attributes:
      loss: float32 [], mean nats per counted token, without the z-loss.
      gradient_norm: float32 [], global norm before clipping.
    """

    loss: jax.Array
    gradient_norm: jax.Array


@dataclasses.dataclass(frozen=True)
class StepKey:
    """What a compilation depends on; runs of equal keys share it.

    Attributes:
      model, optimizer, execution: of the run; the optimizer's `weight_decay` is set to 0 here because it is an input.
      compute_dtype: of matmul inputs.
      batch_size, sequence_length: B and T.
      isolate_documents: how windows become batches.
    """

    model: TransformerConfig
    optimizer: OptimizerConfig
    execution: ExecutionConfig
    compute_dtype: str
    batch_size: int
    sequence_length: int
    isolate_documents: bool

    @classmethod
    def of(cls, config: RunConfig) -> "StepKey":
        """The key of a run."""
        return cls(
            model=config.model,
            optimizer=dataclasses.replace(config.optimizer, weight_decay=0.0),
            execution=config.execution,
            compute_dtype=config.compute_dtype,
            batch_size=config.batch_size,
            sequence_length=config.data.sequence_length,
            isolate_documents=config.data.isolate_documents,
        )


class Programs(NamedTuple):
    """The mathematics of a key as plain functions, for whoever compiles them.

    Attributes:
      init: from a seed (uint32 []) to a TrainState.
      step: (state, batch, rates) -> (state, metrics).
      gather: (tables, windows) -> batch.
      token_nats: (parameters, batch) -> float32 [B, T], negative log-likelihood of every target.
    """

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, StepMetrics]]
    gather: Callable[..., Batch]
    token_nats: Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """The programs of one key on one mesh; all are jitted and compile at their first call.

    Attributes:
      key: what they were built for.
      mesh: the devices.
      state_shardings: tree of shardings in the shape of :class:`TrainState`.
      batch_sharding: of [B, T] arrays.
      replicated: of scalars, window numbers and device-resident stores.
      init: from a seed (uint32 []) to a TrainState.
      step: (state, batch, rates) -> (state, metrics); the state is donated.
      step_on_windows: (state, tables, windows, rates) -> (state, metrics), gathering the batch on the device.
      token_nats: (parameters, batch) -> float32 [B, T], negative log-likelihood of every target.
    """

    key: StepKey
    mesh: Mesh
    state_shardings: TrainState
    batch_sharding: NamedSharding
    replicated: NamedSharding
    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, StepMetrics]]
    step_on_windows: Callable[..., tuple[TrainState, StepMetrics]]
    token_nats: Callable[..., jax.Array]

    def abstract_state(self) -> TrainState:
        """Shapes, types and shardings of the state, with nothing allocated."""
        shapes = jax.eval_shape(self.init, jax.ShapeDtypeStruct((), jnp.uint32))
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            self.state_shardings,
        )

    def abstract_batch(self) -> Batch:
        """Shapes, types and shardings of a batch."""
        shape = (self.key.batch_size, self.key.sequence_length)
        whole = functools.partial(jax.ShapeDtypeStruct, shape, sharding=self.batch_sharding)
        return Batch(*(whole(dtype=jnp.int32) for _ in range(4)), loss_mask=whole(dtype=jnp.float32))

    def abstract_rates(self) -> Rates:
        """Shapes, types and shardings of the rates."""
        scalar = jax.ShapeDtypeStruct((), jnp.float32, sharding=self.replicated)
        return Rates(scalar, scalar)


@functools.lru_cache(maxsize=8)
def train_step_for(key: StepKey) -> TrainStep:
    """The programs of a key on this process's devices, built once.

    Raises:
      ConfigError: the mesh does not match the devices, or sizes do not divide over it.
    """
    return build_train_step(key, meshes.make_mesh(key.execution))


def build_train_step(key: StepKey, mesh: Mesh) -> TrainStep:
    """Builds the programs of a key on a mesh.

    Raises:
      ConfigError: sizes do not divide over the mesh.
    """
    meshes.check_divisible(mesh, key.model, key.batch_size // key.execution.accumulation)
    programs = programs_of(key, layers_form(key.execution, mesh))
    transform = optimizers.direction(key.optimizer)
    replicated = NamedSharding(mesh, PartitionSpec())
    batch_sharding = meshes.batch_sharding(mesh)

    def step_on_windows(state, tables, windows, rates):
        batch = jax.lax.with_sharding_constraint(programs.gather(tables, windows), batch_sharding)
        return programs.step(state, batch, rates)

    parameter_shardings = meshes.parameter_shardings(mesh, key.model)
    shapes = tree(key.model, lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32))
    state_shardings = TrainState(
        replicated, parameter_shardings, optimizer_shardings(transform, shapes, parameter_shardings, replicated)
    )
    jit_step = functools.partial(jax.jit, donate_argnums=0, out_shardings=(state_shardings, replicated))
    with_rules = functools.partial(meshes.with_rules, mesh)
    return TrainStep(
        key=key,
        mesh=mesh,
        state_shardings=state_shardings,
        batch_sharding=batch_sharding,
        replicated=replicated,
        init=jax.jit(with_rules(programs.init), out_shardings=state_shardings),
        step=jit_step(with_rules(programs.step)),
        step_on_windows=jit_step(with_rules(step_on_windows)),
        token_nats=jax.jit(with_rules(programs.token_nats), out_shardings=replicated),
    )


def programs_of(key: StepKey, layers: str) -> Programs:
    """The programs of a key.

    Args:
      key: what they depend on.
      layers: "unroll" or "scan"; see :func:`layers_form`.
    """
    model = Transformer(
        config=key.model,
        compute_dtype=key.compute_dtype,
        layers=layers,
        remat=key.execution.remat,
        attention_chunk=key.execution.attention_chunk,
    )
    transform = optimizers.direction(key.optimizer)

    def init(seed):
        parameters = init_parameters(model, jax.random.key(seed))
        return TrainState(jnp.zeros((), jnp.int32), parameters, transform.init(parameters))

    def step(state, batch, rates):
        return _train_step(model, transform, key, state, batch, rates)

    def gather(tables, windows):
        return device.gather(tables, windows, key.sequence_length, key.isolate_documents)

    def token_nats(parameters, batch):
        return losses.token_nats(_logits(model, parameters, batch), batch.targets)

    return Programs(init, step, gather, token_nats)


def layers_form(execution: ExecutionConfig, mesh: Mesh) -> str:
    """How layers run on a mesh, "auto" resolved."""
    if execution.layers != "auto":
        return execution.layers
    return "unroll" if mesh.devices.flat[0].platform == "cpu" else "scan"


def _train_step(model, transform, key: StepKey, state: TrainState, batch: Batch, rates: Rates):
    counted = jnp.sum(batch.loss_mask)

    def scaled_loss(parameters, part: Batch):
        sums = losses.masked_sums(_logits(model, parameters, part), part.targets, part.loss_mask)
        return (sums.nats + key.model.z_loss * sums.squared_log_z) / counted, sums.nats / counted

    gradient = functools.partial(jax.grad(scaled_loss, has_aux=True), state.parameters)
    gradients, loss = accumulated(gradient, batch, key.execution.accumulation)
    directions, optimizer = transform.update(gradients, state.optimizer, state.parameters)
    parameters = optimizers.apply_direction(
        state.parameters,
        directions,
        tree(key.model, lambda spec: spec.decay),
        rates.learning_rate,
        rates.weight_decay,
    )
    return TrainState(state.step + 1, parameters, optimizer), StepMetrics(loss, optax.tree.norm(gradients))


def _logits(model: Transformer, parameters, batch: Batch) -> jax.Array:
    return model.apply({"params": parameters}, batch.tokens, batch.segment_ids, batch.positions)


def accumulated(gradient: Callable[[Any], Any], batch: Any, parts: int) -> Any:
    """Sums what `gradient` returns of each of `parts` micro-batches.

    Every micro-batch's result must already be divided by the counts of the whole batch, so that the sum does not depend on `parts`.

    Args:
      gradient: from a tree of arrays [B / parts, ...] to a tree.
      batch: tree of arrays [B, ...].
      parts: must divide B.
    """
    if parts == 1:
        return gradient(batch)
    # Micro-batch i takes rows i, i + parts, ...: a batch sharded over devices then splits without moving rows.
    micro = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), batch)
    first = jax.tree.map(lambda x: x[0], micro)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, first))

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradient(part)), None

    return jax.lax.scan(add, zeros, micro)[0]


def optimizer_shardings(transform: optax.GradientTransformation, shapes, shardings, replicated: NamedSharding):
    """Optimiser moments lie as their parameters do; what has another shape (counters, factored moments) is replicated.

    Args:
      transform: the optimiser.
      shapes, shardings: trees of the parameters' shapes and shardings.
      replicated: the sharding of everything else.
    """
    return optax.tree_map_params(
        transform,
        lambda leaf, parameter, sharding: sharding if leaf.shape == parameter.shape else replicated,
        jax.eval_shape(transform.init, shapes),
        shapes,
        shardings,
        transform_non_params=lambda leaf: replicated,
    )
