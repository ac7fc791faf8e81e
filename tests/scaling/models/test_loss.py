"""Cross-entropy and its sums."""

import jax
import jax.numpy as jnp
import numpy as np

from scaling.models.loss import masked_sums, token_nats

LOGITS = jax.random.normal(jax.random.key(0), (2, 5, 11)) * 3
TARGETS = jax.random.randint(jax.random.key(1), (2, 5), 0, 11)


def test_nats_are_minus_the_log_of_the_softmax():
    exact = np.asarray(LOGITS, np.float64)
    probabilities = np.exp(exact) / np.exp(exact).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(probabilities, np.asarray(TARGETS)[..., None], -1))[..., 0]
    np.testing.assert_allclose(token_nats(LOGITS, TARGETS), expected, rtol=1e-5)


def test_only_tokens_of_the_mask_count():
    mask = jnp.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 1]])
    sums = masked_sums(LOGITS, TARGETS, mask)
    assert float(sums.tokens) == 4
    np.testing.assert_allclose(sums.nats, np.sum(np.asarray(token_nats(LOGITS, TARGETS)) * np.asarray(mask)), rtol=1e-6)
    log_z = np.asarray(jax.nn.logsumexp(LOGITS, axis=-1))
    np.testing.assert_allclose(sums.squared_log_z, np.sum(log_z**2 * np.asarray(mask)), rtol=1e-5)


def test_shifting_logits_moves_only_the_z_term():
    """Cross-entropy ignores the normaliser; the z term is what sees it."""
    mask = jnp.ones(TARGETS.shape)
    plain, shifted = masked_sums(LOGITS, TARGETS, mask), masked_sums(LOGITS + 7.0, TARGETS, mask)
    np.testing.assert_allclose(plain.nats, shifted.nats, rtol=1e-4)
    assert float(shifted.squared_log_z) > float(plain.squared_log_z) + 100


def test_huge_logits_stay_finite():
    sums = masked_sums(LOGITS * 1e4, TARGETS, jnp.ones(TARGETS.shape))
    assert np.isfinite(float(sums.nats))
