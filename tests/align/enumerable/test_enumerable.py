"""Enumerated spaces: the bookkeeping, the optimum, the curve and best-of-n against plain loops, identities and samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.enumerable import optimum
from align.enumerable.best_of_n import best_of_n_log_probs
from align.enumerable.frontier import best_reward, largest_kl, pareto_curve
from align.enumerable.space import Space
from align.enumerable.tabular_policy import (
    conditional_log_probs,
    distribution,
    sample,
    sequence_log_probs,
    token_log_probs,
)
from align.sequences import completion_mask
from scaling.errors import ConfigError
from tests.align.enumerable.small_loops import problem

BETAS = (0.1, 0.3, 1.0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_a_space_without_eos_is_every_string_and_with_eos_every_string_up_to_it():
    assert Space(3, 2).completions == list(itertools.product(range(3), repeat=2))
    assert Space(2, 3, eos=0).completions == [(0,), (1, 0), (1, 1, 0), (1, 1, 1)]
    assert list(Space(2, 3, eos=0).states) == [(), (1,), (1, 1)]
    np.testing.assert_array_equal(Space(2, 3, eos=0).ended_S, [True, True, True, False])


def test_sequences_are_the_completions_behind_a_prompt():
    space = Space(3, 3, eos=2)
    sequences = space.sequences(prompt=(1, 1))
    mask = np.asarray(completion_mask(sequences)).astype(bool)
    for row, completion in enumerate(space.completions):
        assert tuple(sequences.tokens[row][mask[row]]) == completion
    np.testing.assert_array_equal(mask[:, 2:], space.mask_SxT)


@pytest.mark.parametrize("eos", [None, 0])
def test_a_tabular_policy_is_a_distribution_and_any_distribution_is_a_tabular_policy(eos):
    space = Space(3, 3, eos)
    log_probs = np.random.default_rng(0).normal(size=len(space.completions))
    log_probs -= np.log(np.sum(np.exp(log_probs)))
    table = conditional_log_probs(log_probs, space)
    np.testing.assert_allclose(np.exp(table).sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(sequence_log_probs(jnp.asarray(table), space), log_probs, rtol=1e-12)
    np.testing.assert_allclose(distribution(table, space), log_probs, rtol=1e-12)
    assert not np.any(np.asarray(token_log_probs(jnp.asarray(table), space))[~space.mask_SxT])


def test_samples_follow_the_policy():
    given = problem()
    drawn = sample(jnp.asarray(given.reference_NxV), given.space, 40_000, jax.random.key(0))
    shares = np.bincount(drawn, minlength=len(given.reference_S)) / 40_000
    errors = np.sqrt(np.exp(given.reference_S) / 40_000)
    assert np.all(np.abs(shares - np.exp(given.reference_S)) < 4.5 * errors)


@pytest.mark.parametrize("beta", BETAS)
def test_the_optimum_is_worth_beta_log_z_and_nothing_is_worth_more(beta):
    """J(pi) = beta log Z - beta KL(pi || pi*) for every pi (Rafailov et al. 2023, eq. 12 ff.)."""
    given = problem()
    best = optimum.optimal_log_probs(given.reference_S, given.rewards_S, beta)
    worth = beta * optimum.log_partition(given.reference_S, given.rewards_S, beta)
    assert np.sum(np.exp(best)) == pytest.approx(1, abs=1e-12)
    found = optimum.expectation(best, given.rewards_S) - beta * optimum.kl(best, given.reference_S)
    assert found == pytest.approx(worth, rel=1e-12)
    rng = np.random.default_rng(1)
    for _ in range(20):
        other = rng.normal(size=len(best))
        other -= np.log(np.sum(np.exp(other)))
        found = optimum.objective(other, given.reference_S, given.rewards_S, beta)
        assert found == pytest.approx(worth - beta * optimum.kl(other, best), rel=1e-10)
        assert found < worth
    assert optimum.attained(best, given.reference_S, given.rewards_S, beta) == pytest.approx(1, abs=1e-12)
    assert optimum.attained(given.reference_S, given.reference_S, given.rewards_S, beta) == 0


def test_no_policy_lies_above_the_curve():
    given = problem()
    rng = np.random.default_rng(2)
    for _ in range(50):
        other = given.reference_S + rng.exponential() * rng.normal(size=len(given.reference_S))
        other -= np.log(np.sum(np.exp(other)))
        nats = optimum.kl(other, given.reference_S)
        assert optimum.expectation(other, given.rewards_S) < best_reward(given.reference_S, given.rewards_S, nats)


def test_the_curve_rises_from_the_reference_to_the_best_completion_and_its_slope_is_beta():
    given = problem()
    betas, end = np.geomspace(50, 0.05, 40), largest_kl(given.reference_S, given.rewards_S)
    curve = pareto_curve(given.reference_S, given.rewards_S, betas)
    assert np.all(np.diff(curve.kl) > 0) and np.all(np.diff(curve.reward) > 0)
    for nats, reward, beta in zip(curve.kl, curve.reward, betas, strict=True):
        assert best_reward(given.reference_S, given.rewards_S, nats) == pytest.approx(reward, rel=1e-9)
        step = 1e-4 * min(nats, end - nats)
        rise = best_reward(given.reference_S, given.rewards_S, nats + step) - best_reward(
            given.reference_S, given.rewards_S, nats - step
        )
        assert rise / (2 * step) == pytest.approx(beta, rel=1e-3)
    assert end == pytest.approx(-given.reference_S[np.argmax(given.rewards_S)])
    assert best_reward(given.reference_S, given.rewards_S, end) == given.rewards_S.max()
    assert best_reward(given.reference_S, given.rewards_S, 0.0) == optimum.expectation(
        given.reference_S, given.rewards_S
    )


def test_best_of_n_is_what_enumerating_every_sample_gives():
    """All S^n samples, the first, second, ... of the tied best each with the same chance."""
    log_probs = np.log([0.4, 0.1, 0.2, 0.3])
    scores = np.array([1.0, 2.0, 2.0, 0.5])
    for n in (1, 2, 3, 4):
        expected = np.zeros(4)
        for drawn in itertools.product(range(4), repeat=n):
            tied = [row for row in drawn if scores[row] == max(scores[list(drawn)])]
            for row in tied:
                expected[row] += np.prod(np.exp(log_probs[list(drawn)])) / len(tied)
        np.testing.assert_allclose(np.exp(best_of_n_log_probs(log_probs, scores, n)), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 16, 1000, 10**6])
def test_the_kl_of_best_of_n_is_bounded_and_reaches_the_bound_for_fine_scores(n):
    bound = np.log(n) - (n - 1) / n
    given = problem()
    chosen = best_of_n_log_probs(given.reference_S, given.rewards_S, n)
    assert np.sum(np.exp(chosen)) == pytest.approx(1, abs=1e-12)
    nats = optimum.kl(chosen, given.reference_S)
    assert -1e-12 <= nats <= bound + 1e-12
    assert optimum.expectation(chosen, given.rewards_S) <= best_reward(given.reference_S, given.rewards_S, nats) + 1e-12
    if n <= 1000:
        fine = np.full(200_000, -np.log(200_000))
        assert optimum.kl(best_of_n_log_probs(fine, np.arange(200_000), n), fine) == pytest.approx(bound, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "what"), [((1, 3), "vocabulary"), ((3, 2, 3), "eos"), ((10, 9), "enumerate"), ((2, 0), "length")]
)
def test_a_space_that_cannot_be_enumerated_is_refused(arguments, what):
    with pytest.raises(ConfigError, match=what):
        Space(*arguments)
