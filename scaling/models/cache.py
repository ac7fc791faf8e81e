"""Keys and values of earlier tokens, so that the next token costs one position and not the whole sequence.

The transformer is the one of :mod:`scaling.models.transformer`; only what its attention reads differs. Prompts of different lengths are right-padded to P
slots. Decoded tokens stand in the slots from P on, the same slot for every row, whatever its length: a step then writes one slice, in place, and
attention does not mind the order of its keys (a row's positions go on from its own prompt).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from scaling.mesh import constrain
from scaling.models.attention import cached_attention, causal_attention
from scaling.models.projections import column_blocks
from scaling.models.transformer import Transformer, unstacked

_AXES = ("batch", "kv_heads", "length", "head_dim")

# What :func:`scaling.models.projections.project` multiplies by in a layer.
KERNELS = ("query", "key", "value", "output", "gate", "up", "down")


class KeyValueCache(NamedTuple):
    """What :func:`decode` needs of the tokens before.

    Attributes:
      keys, values: of every layer, in the compute dtype (their products would round them to it): one array [B, K, S, Q] a layer where layers are
        unrolled, one array [L, B, K, S, Q] where they are scanned.
      prompt_lengths: int32 [B].
      prompt_slots: int32 scalar, P: a row's prompt stands in the first of these slots.
      decoded: int32 scalar, tokens that every row has decoded since.
    """

    keys: Any
    values: Any
    prompt_lengths: jax.Array
    prompt_slots: jax.Array
    decoded: jax.Array


def ready_to_decode(model: Transformer, parameters: Mapping[str, Any], in_blocks: bool = False) -> Mapping[str, Any]:
    """Parameters in the form in which a loop of :func:`decode` reads them fastest: unrolled layers apart. To be called once, outside the loop.

    Args:
      model: the architecture.
      parameters: its parameters, in the form of their specifications.
      in_blocks: copies the kernels of unrolled layers and the head into blocks of columns (:mod:`scaling.models.projections`): worth its time on a CPU
        for a few rows and some dozens of steps.
    """
    if model.layers == "scan":
        return parameters
    layers = unstacked(parameters["layers"], model.config.depth)
    if not in_blocks:
        return {**parameters, "layers": layers}
    tokens_VxD = parameters["embedding"]["tokens"]
    head = tokens_VxD.T if model.config.tied else parameters["head"]["kernel"]
    return {
        **parameters,
        "layers": [_layer_in_blocks(model, layer) for layer in layers],
        "head": {"kernel": column_blocks(head, model.config.width, model.compute_dtype)},
    }


def _layer_in_blocks(model: Transformer, layer: Mapping[str, Any]) -> dict[str, Any]:
    config = model.config
    inputs = {"output": config.heads * config.head_dim, "down": config.mlp_dim}
    return {
        group: {
            name: column_blocks(value, inputs.get(name, config.width), model.compute_dtype)
            if name in KERNELS
            else value
            for name, value in parameters.items()
        }
        for group, parameters in layer.items()
    }


def prefill(
    model: Transformer, parameters: Mapping[str, Any], tokens_BxP: jax.Array, prompt_lengths_B: jax.Array, slots: int
) -> tuple[jax.Array, KeyValueCache]:
    """Reads the prompts.

    Args:
      model: the architecture.
      parameters: its parameters.
      tokens_BxP: right-padded prompts.
      prompt_lengths_B: at least 1 each; what stands behind is never seen.
      slots: S, static: P and the tokens that are to be decoded.

    Returns:
      hidden states [B, P, D] (those of the padding mean nothing), and the cache.
    """
    batch, prompt_slots = tokens_BxP.shape
    index_1xP = jnp.arange(prompt_slots, dtype=jnp.int32)[None, :]
    segment_ids_BxP = (index_1xP < prompt_lengths_B[:, None]).astype(jnp.int32)
    positions_BxP = jnp.broadcast_to(index_1xP, (batch, prompt_slots))

    def attend(layer, kept, q_BxPxHxQ, k_BxPxKxQ, v_BxPxKxQ):
        mixed_BxPxHxQ = causal_attention(
            q_BxPxHxQ, k_BxPxKxQ, v_BxPxKxQ, segment_ids_BxP, model.compute_dtype, model.attention_chunk
        )
        return mixed_BxPxHxQ, _written(kept, layer, 0, k_BxPxKxQ, v_BxPxKxQ)

    model = _executed_forward(model)
    hidden_BxPxD, (keys, values) = model.hidden_states_by(
        attend, _empty(model, batch, slots), parameters, tokens_BxP, positions_BxP
    )
    prompt_slots, decoded = jnp.asarray(prompt_slots, jnp.int32), jnp.zeros((), jnp.int32)
    return hidden_BxPxD, KeyValueCache(keys, values, prompt_lengths_B, prompt_slots, decoded)


def decode(
    model: Transformer, parameters: Mapping[str, Any], cache: KeyValueCache, tokens_B: jax.Array
) -> tuple[jax.Array, KeyValueCache]:
    """Reads one more token of every row.

    Args:
      model, parameters: those of :func:`prefill`.
      cache: of the tokens before. There must be a free slot: a write beyond the last would overwrite it, since XLA clamps indices.
      tokens_B: the tokens.

    Returns:
      hidden states [B, D] of these tokens, and the cache with them.
    """
    slot = cache.prompt_slots + cache.decoded
    positions_B = cache.prompt_lengths + cache.decoded
    slots = (cache.keys if model.layers == "scan" else cache.keys[0]).shape[-2]
    index_1xS = jnp.arange(slots, dtype=jnp.int32)[None, :]
    of_prompt_BxS = index_1xS < cache.prompt_lengths[:, None]
    visible_BxS = of_prompt_BxS | ((index_1xS >= cache.prompt_slots) & (index_1xS <= slot))

    def attend(layer, kept, q_Bx1xHxQ, k_Bx1xKxQ, v_Bx1xKxQ):
        kept = _written(kept, layer, slot, k_Bx1xKxQ, v_Bx1xKxQ)
        keys_BxKxSxQ, values_BxKxSxQ = (_of_layer(array, layer) for array in kept)
        return cached_attention(q_Bx1xHxQ, keys_BxKxSxQ, values_BxKxSxQ, visible_BxS, model.compute_dtype), kept

    hidden_Bx1xD, (keys, values) = _executed_forward(model).hidden_states_by(
        attend, (cache.keys, cache.values), parameters, tokens_B[:, None], positions_B[:, None]
    )
    return hidden_Bx1xD[:, 0], cache._replace(keys=keys, values=values, decoded=cache.decoded + 1)


def grown(cache: KeyValueCache, slots: int) -> KeyValueCache:
    """The cache with room for more tokens.

    Args:
      cache: of fewer slots, or as many.
      slots: S, static.
    """

    def padded(array: jax.Array) -> jax.Array:
        widths = [(0, 0)] * array.ndim
        widths[-2] = (0, slots - array.shape[-2])
        return jnp.pad(array, widths)

    keys, values = jax.tree.map(padded, (cache.keys, cache.values))
    return cache._replace(keys=keys, values=values)


def _executed_forward(model: Transformer) -> Transformer:
    """Nothing is differentiated here, and rematerialised layers would not know their index."""
    return model.clone(remat="none")


def _empty(model: Transformer, batch: int, slots: int) -> tuple[Any, Any]:
    config = model.config
    shape = (batch, config.kv_heads, slots, config.head_dim)
    if model.layers == "scan":
        stacked = constrain(jnp.zeros((config.depth, *shape), model.compute_dtype), ("layers", *_AXES))
        return stacked, stacked
    arrays = (constrain(jnp.zeros(shape, model.compute_dtype), _AXES),) * config.depth
    return arrays, arrays


def _written(kept: tuple[Any, Any], layer, slot, k_BxTxKxQ: jax.Array, v_BxTxKxQ: jax.Array) -> tuple[Any, Any]:
    """Keys and values of all layers with T slots of one layer written from `slot` on."""
    return tuple(_updated(array, layer, slot, new) for array, new in zip(kept, (k_BxTxKxQ, v_BxTxKxQ), strict=True))


def _updated(array: Any, layer, slot, new_BxTxKxQ: jax.Array) -> Any:
    if isinstance(array, tuple):
        new_BxKxTxQ = new_BxTxKxQ.transpose(0, 2, 1, 3).astype(array[layer].dtype)
        updated = constrain(jax.lax.dynamic_update_slice(array[layer], new_BxKxTxQ, (0, 0, slot, 0)), _AXES)
        return (*array[:layer], updated, *array[layer + 1 :])
    new_1xBxKxTxQ = new_BxTxKxQ.transpose(0, 2, 1, 3).astype(array.dtype)[None]
    return constrain(jax.lax.dynamic_update_slice(array, new_1xBxKxTxQ, (layer, 0, 0, slot, 0)), ("layers", *_AXES))


def _of_layer(array: Any, layer) -> jax.Array:
    return array[layer] if isinstance(array, tuple) else jax.lax.dynamic_index_in_dim(array, layer, keepdims=False)
