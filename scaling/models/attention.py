"""Causal self-attention with grouped queries, in blocks of queries that read only the keys they need.

The gradient is written out (the usual softmax backward pass, Dao et al. 2022, appendix B.2, with the weights kept instead of recomputed), because
attention is where a small model's step on CPU spends most of its time: batch-and-head-major layouts everywhere, row sums taken by the matrix
product (a column of ones beside the values) instead of a slow reduction over the last axis, and all products in the compute dtype, backward ones too.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from scaling.mesh import constrain
from scaling.models.positions import rotate
from scaling.models.precision import ComputeDtype, contract, product
from scaling.models.projections import project

# Masked scores: far below any real score, and finite, so that a row with a single visible key has finite gradients.
_MASKED = -1e30


# What mixes values once queries, keys and values are there: (layer, cache, q [B, T, H, Q], k [B, T, K, Q], v [B, T, K, Q]) -> (mixed [B, T, H, Q], cache).
# The layer's index is a Python int where layers are unrolled and a traced integer where they are scanned. The cache is any tree of arrays, None in training.
Attend: TypeAlias = Callable[[Any, Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def self_attention(
    x_BxTxD: jax.Array,
    parameters: Mapping[str, jax.Array],
    angles: tuple[jax.Array, jax.Array] | None,
    compute_dtype: ComputeDtype,
    attend: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]],
    columns_BxR: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Projections, rotation, attention and output projection.

    Args:
      x_BxTxD: the block's (normalised) input.
      parameters: kernels "query" [D, H, Q], "key" and "value" [D, K, Q], "output" [H, Q, D], and their biases where the architecture has them.
      angles: rotary cosines and sines, or None for other kinds of positions.
      compute_dtype: of the products.
      attend: :data:`Attend` of this layer and its cache.
      columns_BxR: the columns whose queries are wanted, or None for all (R = T). `attend` gets theirs only, with all keys and values.

    Returns:
      [B, R, D], and the cache that `attend` returns.
    """
    q_BxRxHxQ = _heads(taken(x_BxTxD, columns_BxR), parameters, "query", "heads", compute_dtype)
    k_BxTxKxQ = _heads(x_BxTxD, parameters, "key", "kv_heads", compute_dtype)
    v_BxTxKxQ = _heads(x_BxTxD, parameters, "value", "kv_heads", compute_dtype)
    if angles is not None:
        q_BxRxHxQ = rotate(q_BxRxHxQ, tuple(taken(angle, columns_BxR) for angle in angles))
        k_BxTxKxQ = rotate(k_BxTxKxQ, angles)
    mixed_BxRxHxQ, cache = attend(q_BxRxHxQ, k_BxTxKxQ, v_BxTxKxQ)
    y_BxRxD = project(mixed_BxRxHxQ.reshape(*mixed_BxRxHxQ.shape[:2], -1), parameters["output"], compute_dtype)
    if "output_bias" in parameters:
        y_BxRxD = y_BxRxD + parameters["output_bias"][None, None, :]
    return y_BxRxD, cache


def taken(x_BxTxF: jax.Array, columns_BxR: jax.Array | None) -> jax.Array:
    """Some columns of each row, [B, R, F]; None takes all as they are."""
    return x_BxTxF if columns_BxR is None else jnp.take_along_axis(x_BxTxF, columns_BxR[:, :, None], axis=1)


def causal_attention(
    q_BxTxHxQ: jax.Array,
    k_BxTxKxQ: jax.Array,
    v_BxTxKxQ: jax.Array,
    segment_ids_BxT: jax.Array,
    compute_dtype: ComputeDtype = "float32",
    chunk: int = 0,
) -> jax.Array:
    """softmax(q k / sqrt(Q)) v under the causal and the segment mask (Vaswani et al. 2017, equation 1).

    Query head h reads key and value head h // (H / K) (Ainslie et al. 2023). With a chunk, each block of queries multiplies only the keys up to its
    own end, which halves the work as the chunks get small; the values are those of the whole form.

    Returns:
      [B, T, H, Q].
    """
    batch, length, heads, head_dim = q_BxTxHxQ.shape
    kv_heads = k_BxTxKxQ.shape[2]
    q_BxTxKxGxQ = (q_BxTxHxQ / math.sqrt(head_dim)).reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    mixed_BxKxGxTxQ = _attend(
        compute_dtype,
        chunk or length,
        q_BxTxKxGxQ.transpose(0, 2, 3, 1, 4),
        k_BxTxKxQ.transpose(0, 2, 1, 3),
        v_BxTxKxQ.transpose(0, 2, 1, 3),
        segment_ids_BxT,
    )
    return mixed_BxKxGxTxQ.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, head_dim)


def attention_at(
    q_BxRxHxQ: jax.Array,
    k_BxTxKxQ: jax.Array,
    v_BxTxKxQ: jax.Array,
    visible_BxRxT: jax.Array,
    compute_dtype: ComputeDtype = "float32",
) -> jax.Array:
    """:func:`causal_attention` of a few queries a row.

    Args:
      q_BxRxHxQ: the queries.
      k_BxTxKxQ, v_BxTxKxQ: of all columns.
      visible_BxRxT: which columns a query sees; at least one.
      compute_dtype: of the products.

    Returns:
      [B, R, H, Q].
    """
    batch, rows, heads, head_dim = q_BxRxHxQ.shape
    kv_heads = k_BxTxKxQ.shape[2]
    group = heads // kv_heads
    q_BxRxKxGxQ = (q_BxRxHxQ / math.sqrt(head_dim)).reshape(batch, rows, kv_heads, group, head_dim)
    q_BxKxNxQ = q_BxRxKxGxQ.transpose(0, 2, 1, 3, 4).reshape(batch, kv_heads, rows * group, head_dim)
    scores_BxKxNxT = contract("bknd,btkd->bknt", q_BxKxNxQ, k_BxTxKxQ, compute_dtype)
    visible_Bx1xNxT = jnp.repeat(visible_BxRxT, group, axis=1)[:, None]
    weights_BxKxNxT = jax.nn.softmax(jnp.where(visible_Bx1xNxT, scores_BxKxNxT, _MASKED), axis=-1)
    mixed_BxKxNxQ = contract("bknt,btkd->bknd", weights_BxKxNxT, v_BxTxKxQ, compute_dtype)
    mixed_BxKxRxGxQ = mixed_BxKxNxQ.reshape(batch, kv_heads, rows, group, head_dim)
    return mixed_BxKxRxGxQ.transpose(0, 2, 1, 3, 4).reshape(batch, rows, heads, head_dim)


def cached_attention(
    q_Bx1xHxQ: jax.Array,
    keys_BxKxSxQ: jax.Array,
    values_BxKxSxQ: jax.Array,
    visible_BxS: jax.Array,
    compute_dtype: ComputeDtype = "float32",
) -> jax.Array:
    """:func:`causal_attention` of one query a row over keys and values that were kept, in any order. No gradient is written for it.

    Args:
      q_Bx1xHxQ: the query of each row.
      keys_BxKxSxQ, values_BxKxSxQ: of S slots, head-major, so that a head's slots are one matrix.
      visible_BxS: which slots a row's query sees; at least one.
      compute_dtype: of the products.

    Returns:
      [B, 1, H, Q].
    """
    batch, _, heads, head_dim = q_Bx1xHxQ.shape
    kv_heads = keys_BxKxSxQ.shape[1]
    q_BxKxGxQ = (q_Bx1xHxQ / math.sqrt(head_dim)).reshape(batch, kv_heads, heads // kv_heads, head_dim)
    weights_BxKxGxS = _numerators(q_BxKxGxQ, keys_BxKxSxQ, visible_BxS[:, None, :], compute_dtype)
    sums_BxKxGx1 = jnp.sum(weights_BxKxGxS.astype(jnp.float32), axis=-1, keepdims=True)
    mixed_BxKxGxQ = product("bkrs,bksd->bkrd", weights_BxKxGxS, values_BxKxSxQ, compute_dtype) / sums_BxKxGx1
    return mixed_BxKxGxQ.reshape(batch, 1, heads, head_dim)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(compute_dtype: ComputeDtype, chunk: int, q_BxKxGxTxQ, k_BxKxTxQ, v_BxKxTxQ, segment_ids_BxT):
    return _attend_forward(compute_dtype, chunk, q_BxKxGxTxQ, k_BxKxTxQ, v_BxKxTxQ, segment_ids_BxT)[0]


def _attend_forward(compute_dtype: ComputeDtype, chunk: int, q_BxKxGxTxQ, k_BxKxTxQ, v_BxKxTxQ, segment_ids_BxT):
    """Returns the mixed values [B, K, G, T, Q] and what the backward pass needs."""
    length, group = q_BxKxGxTxQ.shape[3], q_BxKxGxTxQ.shape[2]
    values_and_one = jnp.concatenate([v_BxKxTxQ, jnp.ones_like(v_BxKxTxQ[..., :1])], axis=-1)
    mixed, weights, inverse_sums = [], [], []
    for start, end in _blocks(length, chunk):
        q_BxKxRxQ = _rows(q_BxKxGxTxQ, start, end)
        visible_BxRxS = jnp.tile(_visible(segment_ids_BxT, start, end), (1, group, 1))
        weights_BxKxRxS = _numerators(q_BxKxRxQ, k_BxKxTxQ[:, :, :end], visible_BxRxS, compute_dtype)
        sums = product("bkrs,bksd->bkrd", weights_BxKxRxS, values_and_one[:, :, :end], compute_dtype)
        inverse_BxKxRx1 = 1.0 / sums[..., -1:]
        mixed.append(_unrows(sums[..., :-1] * inverse_BxKxRx1, group))
        weights.append(weights_BxKxRxS)
        inverse_sums.append(inverse_BxKxRx1)
    mixed_BxKxGxTxQ = jnp.concatenate(mixed, axis=3)
    kept = (q_BxKxGxTxQ, k_BxKxTxQ, v_BxKxTxQ, mixed_BxKxGxTxQ, weights, inverse_sums)
    return mixed_BxKxGxTxQ, kept


def _attend_backward(compute_dtype: ComputeDtype, chunk: int, kept, gradient_BxKxGxTxQ):
    """With weights P and output O = P V: dV = P' dO, dS = P (dO V' - rowsum(dO O)), dQ = dS K, dK = dS' Q."""
    q_BxKxGxTxQ, k_BxKxTxQ, v_BxKxTxQ, mixed_BxKxGxTxQ, weights, inverse_sums = kept
    length, group = q_BxKxGxTxQ.shape[3], q_BxKxGxTxQ.shape[2]
    delta_BxKxGxTx1 = jnp.sum(gradient_BxKxGxTxQ * mixed_BxKxGxTxQ, axis=-1, keepdims=True)
    q_gradients = []
    k_gradient, v_gradient = jnp.zeros_like(k_BxKxTxQ), jnp.zeros_like(v_BxKxTxQ)
    for (start, end), weights_BxKxRxS, inverse_BxKxRx1 in zip(
        _blocks(length, chunk), weights, inverse_sums, strict=True
    ):
        # The weights are kept unnormalised; normalising the gradient's rows instead touches Q numbers a row, not S.
        gradient_BxKxRxQ = _rows(gradient_BxKxGxTxQ, start, end) * inverse_BxKxRx1
        delta_BxKxRx1 = _rows(delta_BxKxGxTx1, start, end) * inverse_BxKxRx1
        keys, values = k_BxKxTxQ[:, :, :end], v_BxKxTxQ[:, :, :end]
        weight_gradient = product("bkrd,bksd->bkrs", gradient_BxKxRxQ, values, compute_dtype)
        score_gradient = weights_BxKxRxS.astype(jnp.float32) * (weight_gradient - delta_BxKxRx1)
        q_gradients.append(_unrows(product("bkrs,bksd->bkrd", score_gradient, keys, compute_dtype), group))
        q_BxKxRxQ = _rows(q_BxKxGxTxQ, start, end)
        unseen = [(0, 0), (0, 0), (0, length - end), (0, 0)]
        k_gradient += jnp.pad(product("bkrs,bkrd->bksd", score_gradient, q_BxKxRxQ, compute_dtype), unseen)
        v_gradient += jnp.pad(product("bkrs,bkrd->bksd", weights_BxKxRxS, gradient_BxKxRxQ, compute_dtype), unseen)
    return jnp.concatenate(q_gradients, axis=3), k_gradient, v_gradient, None


_attend.defvjp(_attend_forward, _attend_backward)


def _numerators(q_BxKxRxQ, k_BxKxSxQ, visible_BxRxS, compute_dtype: ComputeDtype) -> jax.Array:
    """exp(q k - max) where visible and 0 elsewhere, [B, K, R, S].

    Softmax in float32; its numerators are then rounded once, so that the sum of what is returned normalises exactly what is multiplied.
    """
    scores_BxKxRxS = product("bkrd,bksd->bkrs", q_BxKxRxQ, k_BxKxSxQ, compute_dtype)
    scores_BxKxRxS = jnp.where(visible_BxRxS[:, None], scores_BxKxRxS, _MASKED)
    largest_BxKxRx1 = jnp.max(scores_BxKxRxS, axis=-1, keepdims=True)
    return jnp.exp(scores_BxKxRxS - largest_BxKxRx1).astype(compute_dtype)


def _blocks(length: int, chunk: int) -> list[tuple[int, int]]:
    return [(start, min(start + chunk, length)) for start in range(0, length, chunk)]


def _rows(x_BxKxGxTxQ: jax.Array, start: int, end: int) -> jax.Array:
    """One block of queries with the heads of a group stacked: [B, K, R, Q], R = G (end - start)."""
    batch, kv_heads, _, _, features = x_BxKxGxTxQ.shape
    return x_BxKxGxTxQ[:, :, :, start:end].reshape(batch, kv_heads, -1, features)


def _unrows(x_BxKxRxQ: jax.Array, group: int) -> jax.Array:
    batch, kv_heads, rows, features = x_BxKxRxQ.shape
    return x_BxKxRxQ.reshape(batch, kv_heads, group, rows // group, features)


def _heads(
    x_BxTxD: jax.Array, parameters: Mapping[str, jax.Array], name: str, axis: str, compute_dtype: ComputeDtype
) -> jax.Array:
    """Projects to [B, T, heads, Q]."""
    kernel = parameters[name]
    y = project(x_BxTxD, kernel, compute_dtype).reshape(*x_BxTxD.shape[:2], *kernel.shape[1:])
    if f"{name}_bias" in parameters:
        y = y + parameters[f"{name}_bias"][None, None, :, :]
    return constrain(y, ("batch", "length", axis, "head_dim"))


def _visible(segment_ids_BxT: jax.Array, start: int, end: int) -> jax.Array:
    """Whether query start + c may see key s < end: [B, end - start, end]."""
    same_BxCxS = segment_ids_BxT[:, start:end, None] == segment_ids_BxT[:, None, :end]
    causal_CxS = jnp.arange(start, end)[:, None] >= jnp.arange(end)[None, :]
    return same_BxCxS & causal_CxS[None]
