"""Small models and batches that the tests of this folder share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from scaling.models import ladder, loss
from scaling.models.parameters import Ones, tree
from scaling.models.transformer import Transformer, init_parameters

# Small programs compile twice as fast so, and run once.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}
FAMILIES = {"llama": ladder.llama, "kaplan_gpt": ladder.kaplan_gpt, "neox": ladder.neox}


def random_tokens(config, batch, length, seed=0):
    return np.random.default_rng(seed).integers(0, config.vocab_size, (batch, length)).astype(np.int32)


def whole_rows(tokens):
    """Segment ids and positions of rows that hold one document each."""
    return np.ones_like(tokens), np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)


def packed_rows(lengths, batch):
    """Segment ids and positions of rows that hold documents of these lengths."""
    segments = np.concatenate([np.full(length, index + 1, np.int32) for index, length in enumerate(lengths)])
    positions = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    return np.tile(segments, (batch, 1)), np.tile(positions, (batch, 1))


@functools.lru_cache
def initial(config, seed=0):
    """Initial parameters."""
    init = functools.partial(init_parameters, Transformer(config))
    return jax.jit(init, compiler_options=QUICK_COMPILE)(jax.random.key(seed))


@functools.lru_cache
def perturbed(config, seed=0, scale=0.1):
    """Parameters of the right sizes and random everywhere, so that no bias is 0, no scale is 1 and no score is nearly 0."""
    random = np.random.default_rng(seed)

    def draw(spec):
        std = getattr(spec.init, "std", 0.0) + scale
        return jnp.asarray(isinstance(spec.init, Ones) + std * random.standard_normal(spec.shape), jnp.float32)

    return tree(config, draw)


@functools.lru_cache
def logits_of(model):
    """The jitted forward pass: (parameters, tokens, segments, positions) -> logits."""
    return jax.jit(
        lambda parameters, *batch: model.apply({"params": parameters}, *batch), compiler_options=QUICK_COMPILE
    )


def mean_loss(model, parameters, tokens, segments, positions):
    """Mean nats of predicting each next token of the row."""
    logits = model.apply({"params": parameters}, tokens, segments, positions)
    sums = loss.masked_sums(logits[:, :-1], tokens[:, 1:], jnp.ones(tokens[:, 1:].shape))
    return sums.nats / sums.tokens


def loss_and_gradient(model, parameters, *batch):
    function = jax.value_and_grad(functools.partial(mean_loss, model))
    return jax.jit(function, compiler_options=QUICK_COMPILE)(parameters, *batch)


def largest_difference(a, b):
    """Largest difference of two trees, relative to the largest entry of its leaf, or to 1% of the largest entry of all if that is more.

    The floor is for leaves whose exact value is 0 (the gradient of a key bias: softmax ignores a constant added to all scores).
    """
    b_leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(b)]
    floor = 0.01 * max(np.max(np.abs(leaf)) for leaf in b_leaves)

    def relative(x, y):
        return float(np.max(np.abs(np.asarray(x) - y)) / max(np.max(np.abs(y)), floor))

    return max(relative(x, y) for x, y in zip(jax.tree.leaves(a), b_leaves, strict=True))
