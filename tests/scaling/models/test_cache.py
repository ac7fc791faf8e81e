"""Prefill and decoding with kept keys and values equal the full forward pass, for every architecture and form of execution."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.models import cache as caches
from scaling.models import ladder
from scaling.models.projections import ColumnBlocks
from scaling.models.transformer import Transformer
from tests.scaling.models.small_models import QUICK_COMPILE, logits_of, perturbed, random_tokens

LLAMA = dataclasses.replace(ladder.llama(32, 61, kv_heads=1), depth=2)
VARIANTS = {
    "llama, one key head": LLAMA,
    "llama, tied": dataclasses.replace(ladder.llama(32, 61, tied=True), depth=2),
    "kaplan_gpt": dataclasses.replace(ladder.kaplan_gpt(32, 61, max_length=32), depth=2),
    "neox": dataclasses.replace(ladder.neox(32, 61), depth=2),
    "post norm, sinusoids, geglu": dataclasses.replace(
        LLAMA, norm_position="post", positions="sinusoidal", activation="geglu", norm="layernorm"
    ),
}
PROMPT_LENGTHS, STEPS = np.asarray([7, 1, 4], np.int32), 5
PROMPT_SLOTS = 8


def decoded_logits(model, parameters, tokens_BxT):
    """Logits [B, STEPS + 1, V] that predict the tokens behind each prompt: the first from prefill, the others from one decoding step each."""
    rows = np.arange(len(tokens_BxT))
    in_prompt = np.arange(PROMPT_SLOTS)[None] < PROMPT_LENGTHS[:, None]
    # The padding holds tokens like any other: only lengths may tell them apart.
    prompts_BxP = np.where(in_prompt, tokens_BxT[:, :PROMPT_SLOTS], 13)

    @functools.partial(jax.jit, compiler_options=QUICK_COMPILE)
    def read_prompts(parameters, prompts_BxP, lengths_B):
        hidden, cache = caches.prefill(model, parameters, prompts_BxP, lengths_B, PROMPT_SLOTS + STEPS)
        return model.logits(parameters, hidden[jnp.arange(len(lengths_B)), lengths_B - 1][:, None]), cache

    @functools.partial(jax.jit, compiler_options=QUICK_COMPILE)
    def read_token(parameters, cache, tokens_B):
        hidden, cache = caches.decode(model, parameters, cache, tokens_B)
        return model.logits(parameters, hidden[:, None]), cache

    first, cache = read_prompts(parameters, prompts_BxP, PROMPT_LENGTHS)
    logits = [first]
    for step in range(STEPS):
        next_logits, cache = read_token(parameters, cache, tokens_BxT[rows, PROMPT_LENGTHS + step])
        logits.append(next_logits)
    return np.concatenate(logits, axis=1)


def full_logits(model, parameters, tokens_BxT):
    """The same logits from one forward pass over each row."""
    lengths = PROMPT_LENGTHS + STEPS
    positions = np.broadcast_to(np.arange(tokens_BxT.shape[1], dtype=np.int32), tokens_BxT.shape)
    segments = (positions < lengths[:, None]).astype(np.int32)
    logits = np.asarray(logits_of(model)(parameters, tokens_BxT, segments, positions))
    return np.stack([logits[row, start - 1 : start + STEPS] for row, start in enumerate(PROMPT_LENGTHS)])


@pytest.mark.parametrize("layers", ["unroll", "scan"])
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_prefill_and_every_decoding_step_equal_the_full_forward_pass(config, layers):
    """Three prompts of different lengths in one batch, float32, within 1e-5 of the largest logit."""
    parameters, tokens = perturbed(config), random_tokens(config, 3, PROMPT_SLOTS + STEPS)
    expected = full_logits(Transformer(config), parameters, tokens)
    actual = decoded_logits(Transformer(config, layers=layers), parameters, tokens)
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


def test_bfloat16_keeps_keys_and_values_in_bfloat16_and_loses_nothing_by_it():
    """The full forward pass rounds the same keys and values before its products, so the cached logits differ from it by rounding of sums alone."""
    model = Transformer(LLAMA, compute_dtype="bfloat16")
    parameters, tokens = perturbed(LLAMA), random_tokens(LLAMA, 3, PROMPT_SLOTS + STEPS)
    read_prompts = functools.partial(caches.prefill, model, slots=PROMPT_SLOTS + STEPS)
    _, cache = jax.eval_shape(read_prompts, parameters, tokens[:, :PROMPT_SLOTS], jnp.asarray(PROMPT_LENGTHS))
    assert {leaf.dtype for leaf in jax.tree.leaves((cache.keys, cache.values))} == {jnp.dtype("bfloat16")}
    expected = full_logits(model, parameters, tokens)
    exact = full_logits(Transformer(LLAMA), parameters, tokens)
    error = np.abs(decoded_logits(model, parameters, tokens) - expected).max()
    assert error < 0.5 * np.abs(expected - exact).max(), "the cache must cost less than the compute dtype does"


def test_rematerialised_models_decode_too():
    """A stage's model may carry remat for its training; generation must not trip over it."""
    parameters, tokens = perturbed(LLAMA), random_tokens(LLAMA, 3, PROMPT_SLOTS + STEPS)
    expected = decoded_logits(Transformer(LLAMA), parameters, tokens)
    actual = decoded_logits(Transformer(LLAMA, remat="full", attention_chunk=4), parameters, tokens)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", ["unroll", "scan"])
def test_a_decoding_loop_updates_its_cache_in_place(layers):
    """The compiled loop copies no array of the cache's size, and needs less memory beside its arguments than one more cache."""
    config = dataclasses.replace(ladder.llama(64, 61, max_length=4096), depth=2)
    model, slots = Transformer(config, layers=layers), 2048

    def loop(parameters, cache, tokens_B):
        prepared = caches.ready_to_decode(model, parameters)

        def step(_, carry):
            tokens_B, cache = carry
            hidden, cache = caches.decode(model, prepared, cache, tokens_B)
            return jnp.argmax(hidden, axis=-1).astype(jnp.int32), cache

        return jax.lax.fori_loop(0, 9, step, (tokens_B, cache))

    prompts = jnp.zeros((4, 16), jnp.int32)
    parameters = perturbed(config)
    cache = jax.eval_shape(
        lambda parameters: caches.prefill(model, parameters, prompts, jnp.full(4, 16, jnp.int32), slots)[1], parameters
    )
    compiled = jax.jit(loop, donate_argnums=1).lower(parameters, cache, prompts[:, 0]).compile()
    cache_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((cache.keys, cache.values)))
    parameter_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(parameters))
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes > 0.99 * cache_bytes
    one_layer = cache_bytes / 4  # keys or values of one of two layers
    copies = [line for line in compiled.as_text().splitlines() if " copy(" in line and f",{slots}," in line]
    assert not copies, copies
    # A scanned loop slices one layer's keys and values out of the stack to multiply them; an unrolled one reads them where they lie.
    assert memory.temp_size_in_bytes < 1.5 * parameter_bytes + (0.5 if layers == "unroll" else 2.5) * one_layer


@pytest.mark.parametrize("config", [LLAMA, VARIANTS["kaplan_gpt"]], ids=["untied", "tied with biases"])
def test_kernels_in_blocks_compute_what_kernels_do(config):
    """Width 64, so that 64 divides every kernel's columns; the head of a tied model is the embedding in blocks."""
    config = dataclasses.replace(config, width=64, head_dim=64, mlp_dim=128, vocab_size=128)
    model, parameters, tokens = Transformer(config), perturbed(config), random_tokens(config, 3, 4)
    in_blocks = caches.ready_to_decode(model, parameters, in_blocks=True)
    kernels = [in_blocks["head"]["kernel"], *in_blocks["layers"][0]["feed_forward"].values()]
    assert sum(isinstance(kernel, ColumnBlocks) for kernel in kernels) >= 3
    segments, positions = np.ones_like(tokens), np.broadcast_to(np.arange(4, dtype=np.int32), tokens.shape)

    def logits(parameters):
        return model.logits(parameters, model.hidden_states(parameters, tokens, segments, positions))

    expected, actual = jax.jit(logits)(parameters), jax.jit(logits)(in_blocks)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))
