"""The device mesh, and the one table that maps a model's logical axes to it.

Mesh axes: "data" splits the batch; "fsdp" splits the batch and also parameters and optimizer state along their width (ZeRO-3, Rajbhandari et al.
2020); "tensor" splits heads, hidden features and vocabulary (Megatron, Shoeybi et al. 2019).

Models name logical axes only. :func:`with_rules` traces a function with a mesh in force; without it a model runs anywhere, unconstrained.
"""

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from scaling.errors import ConfigError
from scaling.models.config import TransformerConfig
from scaling.models.parameters import tree
from scaling.run_config import ExecutionConfig

AXES = ("data", "fsdp", "tensor")

ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

_mesh_in_force: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh_in_force", default=None)

# Logical axis -> mesh axes. "activation_embed" is the width of activations, whose batch already uses "fsdp".
RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "embed": ("fsdp",),
    "vocab": ("tensor",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "activation_embed": (),
    "head_dim": (),
    "layers": (),
    "length": (),
}


def mesh_shape(execution: ExecutionConfig, device_count: int) -> tuple[int, int, int]:
    """Sizes of (data, fsdp, tensor), with `data = -1` resolved.

    Raises:
      ConfigError: the axes do not multiply to the number of devices.
    """
    data, fsdp, tensor = execution.data, execution.fsdp, execution.tensor
    if fsdp < 1 or tensor < 1 or (data < 1 and data != -1):
        raise ConfigError(
            f"the mesh {data}x{fsdp}x{tensor} (ExecutionConfig.data x fsdp x tensor) has an axis below 1",
            "give positive sizes; only data may be -1",
        )
    if data == -1 and device_count % (fsdp * tensor) == 0:
        data = device_count // (fsdp * tensor)
    if data * fsdp * tensor != device_count:
        shown = "?" if data == -1 else data
        raise ConfigError(
            f"the mesh {shown}x{fsdp}x{tensor} (ExecutionConfig.data x fsdp x tensor) does not cover {device_count} device(s)",
            "make data * fsdp * tensor the number of devices; data = -1 takes what the others leave",
        )
    return data, fsdp, tensor


def make_mesh(execution: ExecutionConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of a run over all devices (or over `devices`), with Auto axes: the compiler places the collectives.

    Raises:
      ConfigError: see :func:`mesh_shape`.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(execution, len(devices))
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def check_divisible(mesh: Mesh, model: TransformerConfig, rows: int) -> None:
    """Refuses a model or batch that the mesh cannot split evenly.

    Args:
      mesh: the devices.
      model: the architecture.
      rows: sequences of one micro-batch.

    Raises:
      ConfigError: naming the field, the mesh axis and both sizes.
    """
    for field, value, axis in (
        ("width", model.width, "fsdp"),
        ("vocab_size", model.vocab_size, "tensor"),
        ("heads", model.heads, "tensor"),
        ("kv_heads", model.kv_heads, "tensor"),
        ("mlp_dim", model.mlp_dim, "tensor"),
    ):
        parts = mesh.shape[axis]
        if value % parts:
            raise ConfigError(
                f"TransformerConfig.{field} ({value}) is not a multiple of ExecutionConfig.{axis} ({parts})",
                f"choose {axis} among the divisors of {field}, or change {field}",
            )
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % parts:
        raise ConfigError(
            f"a micro-batch of {rows} sequences (RunConfig.batch_size / ExecutionConfig.accumulation) is not a multiple of "
            f"data * fsdp ({parts})",
            "raise batch_size, lower accumulation or use fewer devices",
        )


def check_evaluation_rows(mesh: Mesh, rows: int) -> None:
    """Refuses a batch of held-out text that the mesh cannot split evenly: known before training, not after it.

    Args:
      mesh: the devices.
      rows: sequences of one evaluation step.

    Raises:
      ConfigError: naming the field, the mesh axes and both sizes.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % parts:
        raise ConfigError(
            f"EvaluationConfig.batch_size ({rows}) is not a multiple of data * fsdp ({parts})",
            f"make it a multiple of {parts}, or use fewer devices",
        )


def partition_spec(axes: Sequence[str | None]) -> PartitionSpec:
    """The mesh axes of an array whose dimensions have these logical names (None: not split).

    Raises:
      ValueError: a name is not in :data:`RULES`, or two dimensions would use one mesh axis.
    """
    unknown = [axis for axis in axes if axis is not None and axis not in RULES]
    if unknown:
        raise ValueError(f"unknown logical axes {unknown}; scaling.mesh.RULES has {sorted(RULES)}")
    entries = [RULES[axis] if axis is not None else () for axis in axes]
    used = [name for entry in entries for name in entry]
    if len(used) != len(set(used)):
        raise ValueError(f"logical axes {tuple(axes)} use a mesh axis twice: {used}")
    return PartitionSpec(*(entry if len(entry) > 1 else (entry[0] if entry else None) for entry in entries))


def parameter_shardings(mesh: Mesh, model: TransformerConfig) -> dict[str, Any]:
    """The sharding of every parameter, as a tree like the parameters'."""
    return tree(model, lambda spec: NamedSharding(mesh, partition_spec(spec.axes)))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is the batch."""
    return NamedSharding(mesh, partition_spec(("batch",)))


def place(values: Any, sharding: Sharding | None) -> Any:
    """Puts host arrays onto the mesh, explicitly (allowed under a transfer guard).

    Where the mesh spans several processes each sends its own devices their parts; nothing is compared between processes, as `jax.device_put` would do.

    Args:
      values: tree of numpy arrays or scalars, the same in every process.
      sharding: of every leaf; None is the default device.
    """
    if sharding is None or sharding.is_fully_addressable:
        return jax.device_put(values, sharding)

    def placed(leaf):
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    with jax.transfer_guard_host_to_device("allow"):
        return jax.tree.map(placed, values)


def place_share(values: Any, sharding: NamedSharding) -> Any:
    """Puts this process's share of a batch (:func:`rows_of_process`) onto its devices; see :func:`place`."""
    with jax.transfer_guard_host_to_device("allow"):
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), values)


def rows_of_process(sharding: NamedSharding, rows: int) -> tuple[int, int]:
    """Which of the equal shares of a batch this process feeds: (share, shares).

    Processes whose devices hold the same rows (a tensor axis that spans them) feed the same share. Where the mesh gives a process rows that do
    not lie together, it fills them with its share in order: the batch is permuted, which no sum over it can see.

    Args:
      sharding: of an array whose first axis is the batch.
      rows: sequences of the batch.

    Raises:
      ConfigError: two processes hold rows that overlap without being the same.
    """
    held: dict[int, set[int]] = {}
    for device, index in sharding.devices_indices_map((rows,)).items():
        held.setdefault(device.process_index, set()).update(range(rows)[index[0]])
    shares = sorted({tuple(sorted(rows_held)) for rows_held in held.values()})
    if sum(map(len, shares)) != rows or len({len(share) for share in shares}) > 1:
        raise ConfigError(
            f"the mesh cuts a batch of {rows} rows across hosts unevenly",
            "choose ExecutionConfig.tensor so that it divides the devices of a host, or is a multiple of them",
        )
    return shares.index(tuple(sorted(held[jax.process_index()]))), len(shares)


def with_rules(mesh: Mesh, function: Callable[ArgumentsT, ResultT]) -> Callable[ArgumentsT, ResultT]:
    """`function`, in which :func:`constrain` means `mesh`. Wrap before `jax.jit`, so that tracing happens inside."""

    @functools.wraps(function)
    def wrapped(*args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> ResultT:
        token = _mesh_in_force.set(mesh)
        try:
            return function(*args, **kwargs)
        finally:
            _mesh_in_force.reset(token)

    return wrapped


def constrain(x: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """Tells the compiler how an activation is split; the identity outside :func:`with_rules`."""
    if len(axes) != x.ndim:
        raise ValueError(f"{len(axes)} logical axes for an array of shape {x.shape}")
    mesh = _mesh_in_force.get()
    if mesh is None or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, partition_spec(axes)))
