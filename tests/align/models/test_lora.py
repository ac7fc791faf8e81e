"""Adapters: the reference is the adapter at zero, and they are what Hu et al. write."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.models import lora
from align.models.lora import LoraConfig
from scaling.errors import ConfigError
from scaling.models import ladder
from tests.scaling.models import small_models

CONFIG = ladder.llama(width=16, vocab_size=23)


@pytest.fixture(scope="module")
def base():
    return small_models.initial(CONFIG)


def test_a_new_adapter_leaves_the_policy_at_its_reference_bit_for_bit(base):
    adapter = lora.init_adapter(CONFIG, LoraConfig(rank=2), jax.random.key(1))
    merged = lora.merged(base, adapter, CONFIG, LoraConfig(rank=2))
    jax.tree.map(np.testing.assert_array_equal, merged, base)


@pytest.mark.parametrize("name", ["query", "output"])
def test_the_update_is_alpha_over_rank_times_a_product_of_low_rank(base, name):
    config = LoraConfig(rank=2, alpha=6.0)
    adapter = lora.init_adapter(CONFIG, config, jax.random.key(1))
    adapter = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), adapter)
    pair = adapter["layers"]["attention"][name]
    update = lora.merged(base, adapter, CONFIG, config)["layers"]["attention"][name] - base["layers"]["attention"][name]
    for layer in range(CONFIG.depth):
        expected = 3.0 * np.asarray(pair["a"][layer]) @ np.asarray(pair["b"][layer])
        matrix = np.asarray(update[layer]).reshape(expected.shape)
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-6)
        assert np.linalg.matrix_rank(matrix, tol=1e-4) == 2


def test_every_adapted_kernel_and_no_other_parameter_changes(base):
    config = LoraConfig(rank=1)
    adapter = jax.tree.map(lambda leaf: jnp.ones_like(leaf), lora.init_adapter(CONFIG, config, jax.random.key(1)))
    merged = lora.merged(base, adapter, CONFIG, config)
    changed = {
        "/".join(entry.key for entry in path)
        for (path, new), old in zip(jax.tree_util.tree_leaves_with_path(merged), jax.tree.leaves(base), strict=True)
        if np.any(new != old)
    }
    assert changed == set(lora.adapted_kernels(CONFIG, config))


@pytest.mark.slow
def test_gradients_reach_both_factors_once_b_has_moved(base):
    config = LoraConfig(rank=1)
    adapter = jax.tree.map(lambda leaf: leaf + 0.1, lora.init_adapter(CONFIG, config, jax.random.key(1)))

    def loss(adapter):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(lora.merged(base, adapter, CONFIG, config)))

    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(jax.grad(loss)(adapter)))


@pytest.mark.parametrize("targets", ["nothing/at/all", ".*norm.*"])
def test_a_pattern_that_matches_no_kernel_is_refused(targets):
    with pytest.raises(ConfigError, match="LoraConfig.targets"):
        lora.adapted_kernels(CONFIG, LoraConfig(rank=1, targets=targets))
