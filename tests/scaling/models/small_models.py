"""Small models and batches that the tests of this folder share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from scaling.models import ladder, loss
from scaling.models.transformer import Transformer, init_parameters

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
def jitted_init(model):
    return jax.jit(functools.partial(init_parameters, model))


def initial(config, seed=0):
    return jitted_init(Transformer(config))(jax.random.key(seed))


def perturbed(config, seed=0, scale=0.1):
    """Initial parameters plus noise everywhere, so that no bias is 0, no scale is 1 and no score is nearly 0."""
    leaves, structure = jax.tree.flatten(initial(config, seed))
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        structure, [leaf + scale * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def mean_loss(model, parameters, tokens, segments, positions):
    """Mean nats of predicting each next token of the row."""
    logits = model.apply({"params": parameters}, tokens, segments, positions)
    sums = loss.masked_sums(logits[:, :-1], tokens[:, 1:], jnp.ones(tokens[:, 1:].shape))
    return sums.nats / sums.tokens


def loss_and_gradient(model, parameters, *batch):
    return jax.jit(jax.value_and_grad(functools.partial(mean_loss, model)))(parameters, *batch)


def largest_difference(a, b):
    """Largest difference of two trees relative to the largest entry of each leaf."""

    def relative(x, y):
        return float(np.max(np.abs(np.asarray(x) - np.asarray(y))) / (np.max(np.abs(np.asarray(y))) + 1e-12))

    return max(jax.tree.leaves(jax.tree.map(relative, a, b)))
