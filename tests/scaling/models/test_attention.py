"""Attention: its hand-written gradient, chunks, groups and masks, against the plain formula and automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.models.attention import causal_attention
from tests.scaling.models.small_models import QUICK_COMPILE

BATCH, LENGTH, HEADS, HEAD_DIM = 2, 24, 4, 8


def plain_attention(q, k, v, segments):
    """The textbook form; k and v have as many heads as q."""
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / jnp.sqrt(1.0 * q.shape[-1])
    same = segments[:, None, :, None] == segments[:, None, None, :]
    causal = jnp.tril(jnp.ones((q.shape[1], q.shape[1]), bool))[None, None]
    weights = jax.nn.softmax(jnp.where(same & causal, scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhts,bshd->bthd", weights, v)


def arrays(kv_heads=HEADS):
    keys = jax.random.split(jax.random.key(0), 4)
    q, weights = (jax.random.normal(key, (BATCH, LENGTH, HEADS, HEAD_DIM)) for key in keys[:2])
    k, v = (jax.random.normal(key, (BATCH, LENGTH, kv_heads, HEAD_DIM)) for key in keys[2:])
    segments = jnp.array([[1] * LENGTH, [1] * 5 + [2] * 9 + [3] * 10], jnp.int32)
    return q, k, v, segments, weights


def value_and_gradients(function, q, k, v, weights):
    gradient = jax.value_and_grad(lambda *qkv: jnp.sum(function(*qkv) * weights), argnums=(0, 1, 2))
    return jax.jit(gradient, compiler_options=QUICK_COMPILE)(q, k, v)


@pytest.mark.parametrize("chunk", [0, 7, 8, 100])
def test_value_and_gradient_equal_the_plain_form_for_every_chunk(chunk):
    q, k, v, segments, weights = arrays()
    expected = value_and_gradients(lambda *qkv: plain_attention(*qkv, segments), q, k, v, weights)
    ours = value_and_gradients(lambda *qkv: causal_attention(*qkv, segments, chunk=chunk), q, k, v, weights)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_queries_equal_repeated_keys_and_values(kv_heads):
    """Query head h reads head h // group; the gradients of the repeats add up."""
    q, k, v, segments, weights = arrays(kv_heads)

    def repeated(q, k, v):
        k, v = (jnp.repeat(x, HEADS // kv_heads, axis=2) for x in (k, v))
        return plain_attention(q, k, v, segments)

    expected = value_and_gradients(repeated, q, k, v, weights)
    ours = value_and_gradients(lambda *qkv: causal_attention(*qkv, segments, chunk=8), q, k, v, weights)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_chunks_really_skip_keys_of_the_future():
    """Fewer FLOPs: with 8 chunks the products shrink to 9/16 of the square."""
    q, k, v, segments, _ = arrays()

    def flops(chunk):
        lowered = jax.jit(lambda *qkv: causal_attention(*qkv, segments, chunk=chunk)).lower(q, k, v)
        return lowered.cost_analysis()["flops"]

    assert flops(3) < 0.7 * flops(0)


def test_large_scores_neither_overflow_nor_lose_their_gradient():
    q, k, v, segments, weights = arrays()
    value, gradients = value_and_gradients(
        lambda *qkv: causal_attention(*qkv, segments, chunk=8), 100 * q, 100 * k, v, weights
    )
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((value, gradients)))


def test_bfloat16_products_stay_close_and_are_really_used():
    q, k, v, segments, weights = arrays()
    exact = value_and_gradients(lambda *qkv: causal_attention(*qkv, segments), q, k, v, weights)
    rounded = value_and_gradients(lambda *qkv: causal_attention(*qkv, segments, "bfloat16"), q, k, v, weights)
    for a, b in zip(jax.tree.leaves(rounded[1]), jax.tree.leaves(exact[1]), strict=True):
        assert a.dtype == jnp.float32
        assert 0 < np.max(np.abs(a - b)) < 0.03 * np.max(np.abs(b))
