"""Properties of the whole model: masks, execution forms, precision, initialisation."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.models import ladder
from scaling.models.parameters import parameter_specs, tree
from scaling.models.transformer import Transformer
from tests.scaling.models.small_models import (
    FAMILIES,
    QUICK_COMPILE,
    initial,
    largest_difference,
    logits_of,
    loss_and_gradient,
    mean_loss,
    packed_rows,
    perturbed,
    random_tokens,
    whole_rows,
)

LLAMA = dataclasses.replace(ladder.llama(32, 61, kv_heads=1), depth=2)
VARIANTS = {
    "llama": LLAMA,
    "kaplan_gpt": dataclasses.replace(ladder.kaplan_gpt(32, 61, max_length=32), depth=2),
    "neox": dataclasses.replace(ladder.neox(32, 61), depth=2),
    "post norm, sinusoids, geglu": dataclasses.replace(
        LLAMA, norm_position="post", positions="sinusoidal", activation="geglu", norm="layernorm"
    ),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_variant
def test_a_logit_depends_on_the_past_and_only_on_the_past(config):
    """By gradient: d logits[t] / d embedding[s] is 0 exactly where s > t."""
    config = dataclasses.replace(config, vocab_size=8, tied=False)
    parameters = perturbed(config)
    # Token t stands at position t, so a row of the table is one position's input.
    tokens = np.arange(8, dtype=np.int32)[None]
    model = Transformer(config, attention_chunk=4)

    def energy_T(table):
        embedding = parameters["embedding"] | {"tokens": table}
        logits_BxTxV = model.apply({"params": parameters | {"embedding": embedding}}, tokens, *whole_rows(tokens))
        return jnp.sum(logits_BxTxV[0] ** 2, axis=-1)

    sensitivity_TxT = np.abs(
        jax.jit(jax.jacrev(energy_T), compiler_options=QUICK_COMPILE)(parameters["embedding"]["tokens"])
    ).max(-1)
    assert (sensitivity_TxT[np.triu_indices(8, 1)] == 0).all()
    assert (sensitivity_TxT[np.tril_indices(8)] > 0).all()


@every_variant
@pytest.mark.parametrize("chunk", [0, 4])
def test_packed_documents_equal_documents_alone(config, chunk):
    """Three documents in a row give the logits that each gives alone: attention and positions both restart."""
    parameters, lengths = perturbed(config), (5, 8, 3)
    tokens = random_tokens(config, 1, sum(lengths))
    model = Transformer(config, attention_chunk=chunk)
    packed = logits_of(model)(parameters, tokens, *packed_rows(lengths, 1))[0]
    start = 0
    for length in lengths:
        alone = tokens[:, start : start + length]
        expected = logits_of(model)(parameters, alone, *whole_rows(alone))[0]
        np.testing.assert_allclose(packed[start : start + length], expected, rtol=1e-4, atol=1e-4)
        start += length


def test_packing_would_leak_without_segments():
    """The guard of the test above: with one segment for the whole row the later documents change."""
    config = VARIANTS["llama"]
    parameters, tokens = perturbed(config), random_tokens(config, 1, 16)
    model = Transformer(config)
    segments, positions = packed_rows((5, 11), 1)
    isolated = logits_of(model)(parameters, tokens, segments, positions)
    leaking = logits_of(model)(parameters, tokens, np.ones_like(segments), positions)
    np.testing.assert_allclose(isolated[:, :5], leaking[:, :5], rtol=1e-5, atol=1e-5)
    assert np.abs(isolated[:, 5:] - leaking[:, 5:]).max() > 1e-2


@pytest.mark.slow
@every_variant
def test_execution_forms_agree(config):
    """Scan, remat and chunks change neither loss nor gradient."""
    parameters, tokens = perturbed(config), random_tokens(config, 2, 16)
    batch = (tokens, *packed_rows((6, 10), 2))
    expected_loss, expected = loss_and_gradient(Transformer(config), parameters, *batch)
    for fields in (
        {"layers": "scan"},
        {"layers": "scan", "remat": "full", "attention_chunk": 8},
        {"remat": "full"},
        {"remat": "dots", "attention_chunk": 8},
    ):
        loss, gradient = loss_and_gradient(Transformer(config, **fields), parameters, *batch)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
        assert largest_difference(gradient, expected) < 1e-4


@pytest.mark.parametrize("layers", ["unroll", "scan"])
@pytest.mark.parametrize("compute_dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_remat_is_really_on(layers, compute_dtype):
    """Full remat repeats the layers' forward products (about 4/3 of the FLOPs), "dots" only the attention; both need less memory."""
    config = dataclasses.replace(ladder.llama(64, 61), depth=3)
    tokens = random_tokens(config, 4, 64)
    batch = (tokens, *whole_rows(tokens))
    flops, memory = {}, {}
    for remat in ("none", "dots", "full"):
        model = Transformer(config, compute_dtype=compute_dtype, layers=layers, remat=remat)
        gradient = jax.jit(jax.grad(lambda parameters, *batch, model=model: mean_loss(model, parameters, *batch)))
        compiled = gradient.lower(initial(config), *batch).compile()
        flops[remat], memory[remat] = compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes
    assert 1.2 * flops["none"] < flops["full"] < 1.45 * flops["none"]
    assert 1.01 * flops["none"] < flops["dots"] < 0.97 * flops["full"]
    assert memory["full"] <= memory["dots"] < memory["none"]


def test_a_tied_head_is_the_embedding():
    config = dataclasses.replace(LLAMA, tied=True)
    parameters, tokens = perturbed(config), random_tokens(config, 1, 8)
    assert "head" not in parameters
    untied = dataclasses.replace(config, tied=False)
    with_copy = parameters | {"head": {"kernel": parameters["embedding"]["tokens"].T}}
    batch = (tokens, *whole_rows(tokens))
    loss, gradient = loss_and_gradient(Transformer(config), parameters, *batch)
    expected_loss, expected = loss_and_gradient(Transformer(untied), with_copy, *batch)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    both = expected["embedding"]["tokens"] + expected["head"]["kernel"].T
    np.testing.assert_allclose(gradient["embedding"]["tokens"], both, rtol=1e-4, atol=1e-6)


@every_family
def test_bfloat16_is_close_and_keeps_float32_outside_products(family):
    config = dataclasses.replace(FAMILIES[family](64, 61), depth=2)
    parameters, tokens = perturbed(config, scale=0.02), random_tokens(config, 2, 32)
    batch = (tokens, *whole_rows(tokens))
    exact_loss, exact = loss_and_gradient(Transformer(config), parameters, *batch)
    loss, gradient = loss_and_gradient(Transformer(config, compute_dtype="bfloat16"), parameters, *batch)
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, gradient))} == {jnp.dtype("float32")}
    assert 0 < abs(float(loss - exact_loss)) < 5e-3 * exact_loss
    assert largest_difference(gradient, exact) < 0.06


@every_family
@pytest.mark.parametrize(
    "width,vocab_size,tied",
    [(16, 512, True), (64, 1024, False), (128, 256, True), pytest.param(256, 4096, True, marks=pytest.mark.slow)],
)
def test_the_loss_at_step_0_is_within_2_percent_of_uniform(family, width, vocab_size, tied):
    config = FAMILIES[family](width, vocab_size, max_length=128, tied=tied)
    tokens = random_tokens(config, 8, 128)
    loss = jax.jit(mean_loss, static_argnums=0, compiler_options=QUICK_COMPILE)(
        Transformer(config), initial(config), tokens, *whole_rows(tokens)
    )
    assert abs(float(loss) / math.log(vocab_size) - 1) < 0.02


@pytest.mark.slow
@every_family
def test_the_loss_at_step_0_is_within_2_percent_of_uniform_at_large_width(family):
    """A constant 0.02 fails here (6% at width 2048): the rule of the head's scale is what holds it."""
    config = dataclasses.replace(FAMILIES[family](2048, 1024, max_length=64), depth=2)
    tokens = random_tokens(config, 4, 64)
    loss = jax.jit(mean_loss, static_argnums=0, compiler_options=QUICK_COMPILE)(
        Transformer(config), initial(config), tokens, *whole_rows(tokens)
    )
    assert abs(float(loss) / math.log(1024) - 1) < 0.02


@every_variant
def test_parameters_are_what_the_specifications_say(config):
    """Same tree, same shapes, float32, and the standard deviation of every tensor within sampling error."""
    parameters = initial(config)
    shapes = tree(config, lambda spec: spec.shape)
    assert jax.tree.map(lambda leaf: leaf.shape, parameters) == shapes
    assert {leaf.dtype for leaf in jax.tree.leaves(parameters)} == {jnp.dtype("float32")}
    for path, spec in parameter_specs(config).items():
        leaf = parameters
        for name in path.split("/"):
            leaf = leaf[name]
        expected = getattr(spec.init, "std", 0.0)
        assert abs(float(jnp.std(leaf)) - expected) <= 5 * expected / math.sqrt(spec.size), path


def test_no_two_parameters_share_their_random_numbers():
    """Query, key and value have one shape; equal draws would tie them at step 0. Nor do layers repeat."""
    attention = initial(dataclasses.replace(LLAMA, kv_heads=2))["layers"]["attention"]
    draws = [attention[name][layer] for name in ("query", "key", "value") for layer in range(2)]
    for index, a in enumerate(draws):
        for b in draws[index + 1 :]:
            assert abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 0.2


def test_the_seed_decides_the_parameters():
    config = LLAMA
    assert largest_difference(initial(config, 0), initial(config, 0)) == 0
    assert largest_difference(initial(config, 0), initial(config, 1)) > 0.1
