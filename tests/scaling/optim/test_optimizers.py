"""The optimisers equal optax's own, and decay only what their specification names."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from scaling.models import ladder
from scaling.models.parameters import parameter_specs, tree
from scaling.optim import optimizers
from scaling.optim.config import OptimizerConfig

MODEL = ladder.kaplan_gpt(width=16, vocab_size=300, max_length=32)


def random_tree(seed: int):
    keys = iter(jax.random.split(jax.random.key(seed), len(parameter_specs(MODEL))))
    return tree(MODEL, lambda spec: jax.random.normal(next(keys), spec.shape))


def steps_of(config: OptimizerConfig, learning_rate: float, count: int = 3):
    parameters, transform = random_tree(0), optimizers.direction(config)
    state = transform.init(parameters)
    decayed = tree(MODEL, lambda spec: spec.decay)
    for step in range(count):
        directions, state = transform.update(random_tree(step + 1), state, parameters)
        parameters = optimizers.apply_direction(
            parameters, directions, decayed, jnp.float32(learning_rate), jnp.float32(config.weight_decay)
        )
    return parameters


def optax_steps(transform: optax.GradientTransformation, count: int = 3):
    parameters = random_tree(0)
    state = transform.init(parameters)
    for step in range(count):
        updates, state = transform.update(random_tree(step + 1), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return parameters


def assert_close(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), actual, expected)


def test_adamw_equals_optax_adamw():
    config = OptimizerConfig(clip_norm=1.0, weight_decay=0.1)
    mask = tree(MODEL, lambda spec: spec.decay)
    reference = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(0.01, b1=config.beta1, b2=config.beta2, eps=config.epsilon, weight_decay=0.1, mask=mask),
    )
    assert_close(steps_of(config, 0.01), optax_steps(reference))


def test_adafactor_equals_optax_adafactor():
    config = OptimizerConfig(name="adafactor", beta1=0.0, clip_norm=0.0, weight_decay=0.0)
    reference = optax.adafactor(0.01, multiply_by_parameter_scale=True, clipping_threshold=1.0)
    assert_close(steps_of(config, 0.01), optax_steps(reference))


def test_decay_reaches_kernels_and_nothing_else():
    """With a zero direction, only decayed parameters may move."""
    parameters = random_tree(0)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    decayed = tree(MODEL, lambda spec: spec.decay)
    moved = optimizers.apply_direction(parameters, zeros, decayed, jnp.float32(0.1), jnp.float32(0.5))
    for path, spec in parameter_specs(MODEL).items():
        before, after = leaf(parameters, path), leaf(moved, path)
        np.testing.assert_allclose(after, before * (0.95 if spec.decay else 1.0), rtol=1e-6)
        is_vector = "bias" in path or "scale" in path or path.endswith("positions")
        assert spec.decay != is_vector, path


def leaf(node, path: str):
    for part in path.split("/"):
        node = node[part]
    return node


def test_clipping_bounds_the_global_norm():
    transform = optimizers.direction(OptimizerConfig(clip_norm=0.5))
    clip_only = optax.clip_by_global_norm(0.5)
    gradients = random_tree(1)
    clipped, _ = clip_only.update(gradients, clip_only.init(gradients))
    unclipped = optimizers.direction(OptimizerConfig(clip_norm=0.0))
    expected, _ = unclipped.update(clipped, unclipped.init(gradients))
    actual, _ = transform.update(gradients, transform.init(gradients))
    assert_close(actual, expected)
