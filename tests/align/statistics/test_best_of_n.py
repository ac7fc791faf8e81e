"""Best-of-n from samples drawn once, held against enumeration of all subsets and against exact distributions."""

import itertools
import math

import numpy as np
import pytest

from align.statistics import best_of_n
from scaling.errors import DataError


def enumerated(proxy_N, gold_N, n):
    """The mean gold reward of the winner over every subset of n and every order among ties."""
    rewards = []
    for subset in itertools.combinations(range(len(proxy_N)), n):
        best = max(proxy_N[i] for i in subset)
        rewards.append(np.mean([gold_N[i] for i in subset if proxy_N[i] == best]))
    return np.mean(rewards)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("tied", [False, True])
def test_the_estimate_is_the_mean_over_all_subsets(n, tied):
    rng = np.random.default_rng(n)
    proxy = rng.integers(0, 3, (4, 7)).astype(float) if tied else rng.standard_normal((4, 7))
    gold = rng.standard_normal((4, 7))
    found = best_of_n.expected_reward(proxy, gold, n)
    np.testing.assert_allclose(
        found.by_prompt, [enumerated(p, g, n) for p, g in zip(proxy, gold, strict=True)], rtol=1e-12
    )
    assert found.standard_error == pytest.approx(found.by_prompt.std(ddof=1) / 2)


@pytest.mark.parametrize("n", [1, 2, 100, 5000, 10_000])
def test_weights_are_binomial_ratios_at_ten_thousand_samples(n):
    """Against Python's exact integers, where factorials have 35,000 digits."""
    weight = best_of_n.rank_weights(10_000, n)
    assert weight.sum() == pytest.approx(1.0, abs=1e-11)
    for rank in {n, (n + 10_000) // 2, 10_000}:
        exact = math.comb(rank - 1, n - 1) * 10**40 // math.comb(10_000, n) / 10**40
        assert weight[rank - 1] == pytest.approx(exact, rel=1e-10, abs=1e-39)
    assert (weight[: n - 1] == 0).all()


def test_the_estimate_is_unbiased_for_best_of_n_drawn_anew():
    rng = np.random.default_rng(0)
    proxy = rng.standard_normal((4000, 12))
    gold = 0.6 * proxy + rng.standard_normal((4000, 12))
    found = best_of_n.expected_reward(proxy, gold, 4)
    # The expected maximum of four standard normal values is 1.0294 (order statistics).
    assert abs(found.value - 0.6 * 1.02938) < 4 * found.standard_error


def test_the_distribution_is_that_of_enumerated_draws():
    """Two outcomes tie: all 4^3 draws of three samples, winners chosen evenly among equals."""
    p, score = np.array([0.1, 0.4, 0.3, 0.2]), np.array([3.0, 1.0, 2.0, 2.0])
    expected = np.zeros(4)
    for draw in itertools.product(range(4), repeat=3):
        best = [y for y in draw if score[y] == max(score[list(draw)])]
        for y in best:
            expected[y] += np.prod(p[list(draw)]) / len(best)
    found = best_of_n.distribution(p, score, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert best_of_n.kl_exact(p, score, 3) == pytest.approx(np.sum(expected * np.log(expected / p)), rel=1e-12)


def test_the_bound_is_reached_without_ties_and_never_passed():
    np.testing.assert_allclose(best_of_n.kl_bound([16, 1000]), [1.8351, 5.9088], atol=5e-5)
    many = np.full(100_000, 1e-5)
    assert best_of_n.kl_exact(many, np.arange(100_000), 16) == pytest.approx(float(best_of_n.kl_bound(16)), abs=1e-3)
    rng = np.random.default_rng(1)
    for n in (1, 2, 8, 1000):
        p = rng.dirichlet(np.full(6, 0.5))
        assert 0 <= best_of_n.kl_exact(p, rng.integers(0, 4, 6), n) <= best_of_n.kl_bound(n) + 1e-12
    # Far beyond the number of outcomes, best-of-n is the best outcome, and its KL is -ln of its probability.
    assert best_of_n.kl_exact(np.array([0.001, 0.999]), np.array([1.0, 0.0]), 10**6) == pytest.approx(-math.log(0.001))


def test_outcomes_of_probability_zero_stay_there():
    found = best_of_n.distribution(np.array([0.0, 0.5, 0.5]), np.array([9.0, 1.0, 2.0]), 4)
    np.testing.assert_allclose(found, [0.0, 0.0625, 0.9375])
    assert np.isfinite(best_of_n.kl_exact(np.array([0.0, 0.5, 0.5]), np.array([9.0, 1.0, 2.0]), 4))


def test_kl_without_log_probabilities_finds_ties_and_continua():
    """Scores alone: of a discrete proxy the exact KL, of a continuous one the bound."""
    rng = np.random.default_rng(2)
    p, score = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.0, 1.0, 1.0, 2.0])
    drawn = score[rng.choice(4, p=p, size=(200, 400))]
    value, lower = best_of_n.kl_from_scores(drawn, 8)
    exact = best_of_n.kl_exact(p, score, 8)
    assert abs(value.value - exact) < 4 * value.standard_error + 0.01 and lower.value == pytest.approx(
        value.value, abs=1e-3
    )
    assert exact < 0.9 * best_of_n.kl_bound(8)
    value, lower = best_of_n.kl_from_scores(rng.standard_normal((3, 64)), 8)
    assert value.value == pytest.approx(float(best_of_n.kl_bound(8)), rel=1e-12) and lower.value < value.value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_of_n.expected_reward(np.zeros((2, 4)), np.zeros((2, 4)), 5), "best of 5 .* 4 samples"),
        (lambda: best_of_n.expected_reward(np.zeros((2, 4)), np.zeros((2, 3)), 2), r"\(2, 4\) .* \(2, 3\)"),
        (lambda: best_of_n.expected_reward(np.array([[0.0, np.nan]]), np.zeros((1, 2)), 1), "prompt 0, sample 1"),
        (lambda: best_of_n.kl_exact(np.array([0.5, 0.6]), np.zeros(2), 2), "sum to 1.1"),
    ],
)
def test_what_cannot_be_estimated_is_said(call, message):
    with pytest.raises(DataError, match=message):
        call()
