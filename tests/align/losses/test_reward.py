"""Losses of reward models and ensembles against plain loops, in float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from align.losses import reward
from align.losses.reward import ENSEMBLES, mean_of_ensemble, uncertainty_weighted, worst_case
from tests.align.losses.derivations import log_sig, sig

# Compiled whole, because compiling every operation by itself takes longer than the tests.
bradley_terry, ranked = jax.jit(reward.bradley_terry), jax.jit(reward.ranked)

RNG = np.random.default_rng(0)
CHOSEN, REJECTED = RNG.normal(size=(2, 6))
MARGIN = RNG.uniform(size=6)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_bradley_terry_with_margin_centring_and_soft_labels():
    probability = np.linspace(0.5, 1, 6)
    expected = [
        -p * log_sig(w - r - m) - (1 - p) * log_sig(r - w + m) + 0.01 * (w + r) ** 2
        for w, r, m, p in zip(CHOSEN, REJECTED, MARGIN, probability, strict=True)
    ]
    found = bradley_terry(CHOSEN, REJECTED, MARGIN, centring=0.01, probability_B=probability)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    plain = [-log_sig(w - r) for w, r in zip(CHOSEN, REJECTED, strict=True)]
    np.testing.assert_allclose(bradley_terry(CHOSEN, REJECTED), plain, rtol=1e-12)


def test_the_gradient_of_bradley_terry_is_the_probability_of_the_wrong_answer():
    gradient = jax.grad(lambda chosen: jnp.sum(bradley_terry(chosen, REJECTED)))(jnp.asarray(CHOSEN))
    expected = [-(1 - sig(w - r)) for w, r in zip(CHOSEN, REJECTED, strict=True)]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_shifting_all_rewards_changes_nothing_but_the_centring():
    shifted = bradley_terry(CHOSEN + 3, REJECTED + 3, MARGIN)
    np.testing.assert_allclose(shifted, bradley_terry(CHOSEN, REJECTED, MARGIN), rtol=1e-12)
    assert np.all(bradley_terry(CHOSEN + 9, REJECTED + 9, centring=0.01) > bradley_terry(CHOSEN + 9, REJECTED + 9))
    np.testing.assert_allclose(ranked(RANKED + 3), ranked(RANKED), rtol=1e-12)


RANKED = RNG.normal(size=(5, 4))


def test_k_completions_are_the_mean_over_their_comparisons():
    expected = []
    for rewards in RANKED:
        pairs = list(itertools.combinations(range(4), 2))
        assert len(pairs) == math.comb(4, 2)
        expected.append(-sum(log_sig(rewards[i] - rewards[j]) for i, j in pairs) / len(pairs))
    np.testing.assert_allclose(ranked(RANKED), expected, rtol=1e-12)
    np.testing.assert_allclose(ranked(RANKED[:, :2]), bradley_terry(RANKED[:, 0], RANKED[:, 1]), rtol=1e-12)


def test_ties_and_empty_places_are_no_comparisons_and_the_order_of_completions_is_none_of_its_business():
    ranks = np.array([[2, 1, 2, 3], [1, 1, 1, 1], [1, -1, 2, -1], [3, 0, 1, 2], [-1, -1, -1, 5]])
    expected = []
    for rewards, order in zip(RANKED, ranks, strict=True):
        terms = [
            -log_sig(rewards[i] - rewards[j])
            for i, j in itertools.permutations(range(4), 2)
            if 0 <= order[i] < order[j]
        ]
        expected.append(sum(terms) / len(terms) if terms else 0.0)
    np.testing.assert_allclose(ranked(RANKED, ranks), expected, rtol=1e-12)
    shuffle = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(ranked(RANKED[:, shuffle], ranks[:, shuffle]), expected, rtol=1e-12)
    junk = np.where(ranks < 0, 1e30, RANKED)
    np.testing.assert_allclose(ranked(junk, ranks), expected, rtol=1e-12)


def test_ranked_gradients_are_those_of_finite_differences():
    ranks = np.array([[2, 1, 2, 3], [1, 1, 1, 1], [1, -1, 2, -1], [3, 0, 1, 2], [-1, -1, -1, 5]])
    check_grads(lambda rewards: jnp.sum(ranked(rewards, ranks)), (RANKED,), order=1, modes=["rev"], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rewards_twenty_thousand_apart_stay_finite(dtype):
    far = np.array([20_000, -20_000], dtype)
    value, gradient = jax.value_and_grad(lambda r: jnp.sum(bradley_terry(r, -r, centring=0.01)))(far)
    assert np.isfinite(value) and np.all(np.isfinite(gradient)) and value.dtype == dtype
    value, gradient = jax.value_and_grad(lambda r: jnp.sum(ranked(r)))(far[None, :])
    assert np.isfinite(value) and np.all(np.isfinite(gradient)) and value.dtype == dtype


def test_ensembles():
    members = RNG.normal(size=(5, 3))
    for b in range(3):
        column = list(members[:, b])
        mean = sum(column) / 5
        variance = sum((reward - mean) ** 2 for reward in column) / 5
        assert mean_of_ensemble(members)[b] == pytest.approx(mean, rel=1e-12)
        assert worst_case(members)[b] == min(column)
        assert uncertainty_weighted(members, 0.3)[b] == pytest.approx(mean - 0.3 * variance, rel=1e-12)
    agreed = np.tile(members[:1], (5, 1))
    for combine in ENSEMBLES.values():
        np.testing.assert_allclose(combine(agreed), members[0], rtol=1e-12)
