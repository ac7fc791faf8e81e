"""The compiled programs of a population: one training step of several runs of one shape, each on a batch of its own.

The members' states lie stacked along a leading axis, which is sharded over the devices: a device holds whole members, and no two exchange anything. On a
device they are taken one after the other by a loop ("map") or all at once ("vmap"). The loop runs the very instructions of a run alone, so on CPU it computes
the same bits; vmap turns a member's products into batched ones, which fill an accelerator that one small model leaves idle, and rounds differently.

Shape suffix P: the slots of the population, a multiple of the devices; those behind the last member stay inactive.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from scaling import mesh as meshes
from scaling.errors import ConfigError
from scaling.training.step import (
    StepKey,
    StepMetrics,
    TrainState,
    TrainStep,
    build_train_step,
    layers_form,
    programs_of,
)

Form = Literal["map", "vmap"]

AXIS = "population"


@dataclasses.dataclass(frozen=True)
class PopulationStep:
    """The programs of a population; all are jitted and compile at their first call.

    Attributes:
      member: the programs of one member alone, on the first device.
      form: how a device goes through its members.
      slots: P.
      by_member: sharding of arrays whose leading axis is P.
      replicated: of what all members share.
      step: (states, batches [P, B, T], rates [P], active [P]) -> (states, metrics [P]); the states are donated. A member that is not active keeps its
        state, and its metrics mean nothing.
      step_on_windows: (states, tables, windows [P, B], rates [P], active [P]) -> (states, metrics [P]), gathering batches on the device.
      token_nats: (parameters, batch [B, T], active [P]) -> float32 [P, B, T]; zero for members that are not active.
    """

    member: TrainStep
    form: Form
    slots: int
    by_member: NamedSharding
    replicated: NamedSharding
    step: Callable[..., tuple[TrainState, StepMetrics]]
    step_on_windows: Callable[..., tuple[TrainState, StepMetrics]]
    token_nats: Callable[..., jax.Array]

    def stacked(self, states: Sequence[TrainState]) -> TrainState:
        """The states of the members, each a :class:`TrainState` of its own, as one; slots behind the last member repeat the first."""
        devices = list(self.by_member.mesh.devices.flat)
        share = self.slots // len(devices)
        padded = [*states, *[states[0]] * (self.slots - len(states))]

        def stack(*leaves: jax.Array) -> jax.Array:
            parts = [
                jnp.stack([jax.device_put(leaf, device) for leaf in leaves[share * i : share * (i + 1)]])
                for i, device in enumerate(devices)
            ]
            return jax.make_array_from_single_device_arrays((self.slots, *leaves[0].shape), self.by_member, parts)

        return jax.tree.map(stack, *padded)

    def taken(self, states: TrainState, index: int) -> TrainState:
        """The state of one member, placed as that of a run alone: what its checkpoints hold."""
        share = self.slots // self.by_member.mesh.size
        device = self.by_member.mesh.devices.flat[index // share]
        # The device's own part, so that nothing is gathered from the others.
        local = jax.tree.map(lambda leaf: _part_on(leaf, device), states)
        taken = _take(local, jax.device_put(np.int32(index % share), device))
        return jax.tree.map(jax.device_put, taken, self.member.state_shardings)


@functools.lru_cache(maxsize=4)
def population_step_for(key: StepKey, members: int, form: Form) -> PopulationStep:
    """The programs of a population on this process's devices, built once.

    Args:
      key: what all members share.
      members: how many there are; they are spread over as few devices as hold them evenly.
      form: see the module.

    Raises:
      ConfigError: the configuration spreads one member over several devices, or several processes share the devices.
    """
    member = member_step_for(key)
    devices = jax.devices()
    share = math.ceil(members / len(devices))
    used = math.ceil(members / share)
    mesh = jax.make_mesh((used,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:used])
    programs = programs_of(key, layers_form(key.execution, member.mesh))
    by_member, shared = PartitionSpec(AXIS), PartitionSpec()

    def step(states, batches, rates, active):
        return _over_members(programs.step, form, states, (batches, rates), active)

    def step_on_windows(states, tables, windows, rates, active):
        def gathered_step(state, windows, rates):
            return programs.step(state, programs.gather(tables, windows), rates)

        return _over_members(gathered_step, form, states, (windows, rates), active)

    def token_nats(parameters, batch, active):
        def measure(parameters):
            return programs.token_nats(parameters, batch)

        return _each(measure, form, parameters, active)

    sharded = functools.partial(jax.shard_map, mesh=mesh, out_specs=by_member, check_vma=False)
    return PopulationStep(
        member=member,
        form=form,
        slots=share * used,
        by_member=NamedSharding(mesh, by_member),
        replicated=NamedSharding(mesh, shared),
        step=jax.jit(sharded(step, in_specs=by_member), donate_argnums=0),
        step_on_windows=jax.jit(
            sharded(step_on_windows, in_specs=(by_member, shared, by_member, by_member, by_member)), donate_argnums=0
        ),
        token_nats=jax.jit(sharded(token_nats, in_specs=(by_member, shared, by_member))),
    )


@functools.lru_cache(maxsize=4)
def member_step_for(key: StepKey) -> TrainStep:
    """The programs of one member alone, on the first device.

    Raises:
      ConfigError: see :func:`population_step_for`.
    """
    execution = key.execution
    if jax.process_count() > 1:
        raise ConfigError(
            f"a population trains in one process, and this run has {jax.process_count()}",
            "train the runs one after the other (--population=0), or give each process runs of its own",
        )
    if execution.data not in (-1, 1) or execution.fsdp != 1 or execution.tensor != 1:
        raise ConfigError(
            f"a population has each member on one device, and ExecutionConfig spreads it over {execution.data} x {execution.fsdp} "
            f"x {execution.tensor} (data x fsdp x tensor)",
            "set data to -1 and fsdp and tensor to 1, or train the runs one after the other (--population=0)",
        )
    return build_train_step(key, meshes.make_mesh(execution, jax.devices()[:1]))


def _over_members(step, form: Form, states: TrainState, inputs: Any, active: jax.Array):
    """One step of every active member of this device: (states, metrics)."""

    def take_or_leave(state, inputs, is_active):
        return lax.cond(is_active, lambda: step(state, *inputs), lambda: (state, _NO_METRICS))

    if form == "vmap":
        return jax.vmap(take_or_leave)(states, inputs, active)

    def next_member(states, xs):
        index, inputs, is_active = xs
        state = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), states)
        state, metrics = take_or_leave(state, inputs, is_active)
        # Written back into the carry, so that the loop keeps one copy of the states and not two.
        return jax.tree.map(
            lambda leaf, new: lax.dynamic_update_index_in_dim(leaf, new, index, 0), states, state
        ), metrics

    return lax.scan(next_member, states, (jnp.arange(len(active)), inputs, active))


_NO_METRICS = StepMetrics(np.float32(0), np.float32(0))


def _each(measure, form: Form, parameters: Any, active: jax.Array) -> jax.Array:
    """What `measure` says of every active member of this device, zeros for the others."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), parameters)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(measure, one))

    def measure_or_leave(arguments):
        member, is_active = arguments
        return lax.cond(is_active, lambda: measure(member), lambda: nothing)

    over = jax.vmap(measure_or_leave) if form == "vmap" else functools.partial(lax.map, measure_or_leave)
    return over((parameters, active))


def _part_on(leaf: jax.Array, device: jax.Device) -> jax.Array:
    return next(shard.data for shard in leaf.addressable_shards if shard.device == device)


@jax.jit
def _take(states: TrainState, index: jax.Array) -> TrainState:
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), states)
