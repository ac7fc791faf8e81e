"""Token stores that fit on the device: held there once, gathered inside the jitted step."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from scaling import mesh as meshes
from scaling.data.batches import Batch
from scaling.data.config import DataConfig
from scaling.data.store import Split
from scaling.errors import ConfigError

# A split above this size is read from disk ahead of the step instead: it would crowd out the model.
AUTO_DEVICE_BYTES = 512 * 2**20
_INT32_LIMIT = 2**31 - 1


@functools.partial(jax.tree_util.register_dataclass, data_fields=["tokens"], meta_fields=["eos_id"])
@dataclasses.dataclass(frozen=True)
class DeviceTables:
    """A split in device memory.

    Attributes:
      tokens: [tokens], in the type of the store (two bytes a token for most vocabularies).
      eos_id: the id that ends a document (static under jit).
    """

    tokens: jax.Array
    eos_id: int


def resolve_placement(config: DataConfig, split: Split) -> Literal["device", "host"]:
    """Where the split of a run lives.

    Raises:
      ConfigError: "device" is asked for and the split is too long for 32-bit indices.
    """
    too_long = split.num_tokens > _INT32_LIMIT
    if config.placement == "device" and too_long:
        raise ConfigError(
            f"DataConfig.placement is 'device', but the split {split.name!r} has {split.num_tokens} "
            "tokens, more than 2**31 - 1",
            "set placement to 'host'",
        )
    if config.placement != "auto":
        return config.placement
    return "host" if too_long or split.tokens.nbytes > AUTO_DEVICE_BYTES else "device"


def device_tables(split: Split, sharding: jax.sharding.Sharding | None = None) -> DeviceTables:
    """Copies a split to the devices, explicitly (it is allowed under a transfer guard).

    Args:
      split: an opened split.
      sharding: replicated over the mesh as a rule; None takes the default device.
    """
    return DeviceTables(meshes.place(np.asarray(split.tokens), sharding), split.eos_id)


def gather(tables: DeviceTables, windows: jax.Array, length: int, isolate_documents: bool = True) -> Batch:
    """Equals :func:`scaling.data.batches.gather`, on the device.

    Args:
      tables: the split.
      windows: int32 [B].
      length: T (static).
      isolate_documents: static; see the numpy version.
    """
    read = functools.partial(lax.dynamic_slice_in_dim, tables.tokens, slice_size=length + 1)
    rows = jax.vmap(read)(windows.astype(jnp.int32) * length).astype(jnp.int32)
    return from_rows(rows, tables.eos_id, isolate_documents)


def from_rows(rows: jax.Array, eos_id: int, isolate_documents: bool = True) -> Batch:
    """Equals :func:`scaling.data.batches.from_rows`, on the device; rows are int32 [B, T + 1]."""
    tokens, targets = rows[:, :-1], rows[:, 1:]
    offsets = lax.broadcasted_iota(jnp.int32, tokens.shape, 1)
    if not isolate_documents:
        ones = jnp.ones(tokens.shape, jnp.int32)
        return Batch(tokens, targets, ones, offsets, ones.astype(jnp.float32))
    ends = tokens == eos_id
    starts = jnp.concatenate([jnp.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1)
    segment_ids = 1 + jnp.cumsum(starts, axis=1, dtype=jnp.int32)
    last_start = lax.cummax(jnp.where(starts, offsets, 0), axis=1)
    return Batch(tokens, targets, segment_ids, offsets - last_start, (~ends).astype(jnp.float32))
