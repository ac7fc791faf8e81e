"""Win rates: exact tests against enumeration and SciPy, intervals by their coverage, judges with a planted bias."""

import itertools

import numpy as np
import pytest
from scipy import stats

from align.statistics import intervals, judges, length_controlled, multiplicity, win_rates
from scaling.errors import DataError


def test_pairs_are_counted_and_tested_by_the_binomial():
    rate = win_rates.paired(np.array([3.0, 1.0, 2.0, 5.0, 5.0]), np.array([1.0, 1.0, 1.0, 1.0, 9.0]))
    assert (rate.wins, rate.ties, rate.losses) == (3, 1, 1) and rate.value == pytest.approx(0.7)
    # Four decided, three won: P = 2 (C(4,3) + C(4,4)) / 16.
    assert rate.sign_test == pytest.approx(10 / 16)
    assert win_rates.paired(np.array([1.0, 1.05]), np.array([0.0, 1.0]), margin=0.1).ties == 1
    assert win_rates.WinRate(0, 5, 0).sign_test == 1.0


def test_the_permutation_test_counts_every_assignment_of_signs():
    first, second = np.array([1.0, 2.5, 0.3, 4.0, 2.0]), np.array([0.0, 2.0, 1.0, 1.0, 2.0])
    difference = first - second
    sums = [abs(np.dot(signs, difference)) for signs in itertools.product((-1, 1), repeat=5)]
    assert win_rates.permutation_test(first, second) == pytest.approx(
        np.mean(np.array(sums) >= abs(difference.sum()) - 1e-12)
    )


def test_beyond_enumeration_draws_agree_with_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal(40) + 0.3, rng.standard_normal(40)
    theirs = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue
    assert win_rates.permutation_test(first, second) == pytest.approx(theirs, abs=0.012)


def test_intervals_are_those_of_scipy():
    found = stats.binomtest(17, 40)
    wilson, exact = found.proportion_ci(0.9, method="wilson"), found.proportion_ci(0.9, method="exact")
    assert intervals.wilson(17, 40, 0.9) == pytest.approx((wilson.low, wilson.high), rel=1e-12)
    assert intervals.clopper_pearson(17, 40, 0.9) == pytest.approx((exact.low, exact.high), rel=1e-12)
    assert win_rates.WinRate(10, 0, 0).interval()[1] == 1.0


def test_the_clustered_bootstrap_covers_where_the_naive_one_does_not():
    """Eight judgements a prompt that agree: 90% intervals over prompts cover about 90%, those over judgements far less."""
    rng = np.random.default_rng(3)
    clustered = naive = 0
    for _ in range(200):
        value = np.repeat(rng.standard_normal(40), 8) + 0.2 * rng.standard_normal(320)
        low, high = intervals.clustered_bootstrap(value, np.repeat(np.arange(40), 8), 0.9, 300, rng)
        clustered += low < 0 < high
        low, high = intervals.clustered_bootstrap(value, np.arange(320), 0.9, 300, rng)
        naive += low < 0 < high
    assert 0.82 <= clustered / 200 <= 0.95 and naive / 200 < 0.6


def test_a_judge_that_likes_the_first_answer_is_measured_and_corrected():
    """Planted: A wins with log-odds 0.8, standing first adds 1.2. The average of both orders is pulled towards one half; the logits' mean is not."""
    rng = np.random.default_rng(4)
    prompts = 20_000
    first = np.where(rng.random(prompts) < 1 / (1 + np.exp(-0.8 - 1.2)), 1, -1)
    second = np.where(rng.random(prompts) < 1 / (1 + np.exp(-0.8 + 1.2)), 1, -1)
    found = judges.swapped(first, second)
    assert found.position_logit == pytest.approx(1.2, abs=0.06) and found.position_test < 1e-12
    truth = 1 / (1 + np.exp(-0.8))
    assert found.unbiased_share == pytest.approx(truth, abs=0.012)
    assert (found.share_when_first + found.share_when_second) / 2 < truth - 0.03
    assert found.win_rate.ties == (first != second).sum() and found.consistency < 0.6


def test_a_fair_judge_has_no_position_bias_and_one_that_sees_position_alone_says_nothing():
    fair = judges.swapped([1, 1, -1, 0], [1, 1, -1, 0])
    assert fair.position_bias == 0 and fair.consistency == 1 and fair.position_test == 1.0
    assert fair.win_rate == win_rates.WinRate(2, 1, 1)
    blind = judges.swapped([1] * 8, [-1] * 8)
    assert blind.position_bias == 0.5 and blind.unbiased_share == 0.5 and blind.win_rate.ties == 8
    assert blind.position_test == pytest.approx(2 / 2**8)
    with pytest.raises(DataError, match="the first prompt 1"):
        judges.swapped([1, 2], [1, 1])


def planted(theta, phi, mean_difference, rng, prompts=3000):
    """Verdicts by theta + phi·tanh(Δ/std(Δ)) of a policy that writes `mean_difference` more tokens."""
    difference = 30 * rng.standard_normal(prompts) + mean_difference
    logit = theta + phi * np.tanh(difference / difference.std())
    return (rng.random(prompts) < 1 / (1 + np.exp(-logit))).astype(float), difference


def test_length_control_finds_the_planted_quality_where_the_raw_rate_is_fooled():
    """Two policies of equal quality, one of which writes longer answers to a judge that likes length."""
    rng = np.random.default_rng(5)
    verdict, difference = planted(0.0, 1.5, 40.0, rng)
    found = length_controlled.win_rate(verdict, 100 + difference, np.full(len(difference), 100.0), draws=200)
    assert found.raw > 0.65 and found.interval[0] < 0.5 < found.interval[1]
    assert found.length_effect == pytest.approx(1.5, abs=0.3) and found.length_test < 1e-6 and not found.separated


def test_without_a_length_effect_the_rate_is_the_raw_one_and_its_interval_covers():
    rng = np.random.default_rng(6)
    covered, p_values = 0, []
    for _ in range(100):
        verdict, difference = planted(0.6, 0.0, 5.0, rng, 200)
        found = length_controlled.win_rate(verdict, difference, np.zeros(200), level=0.9, draws=100, rng=rng)
        covered += found.interval[0] <= 1 / (1 + np.exp(-0.6)) <= found.interval[1]
        p_values.append(found.length_test)
    assert 0.8 <= covered / 100 <= 0.97
    assert 0.0 <= np.mean(np.array(p_values) < 0.1) <= 0.2
    equal = length_controlled.win_rate([1, 1, 1, 0, 0.5] * 4, np.ones(20), np.ones(20), draws=50)
    assert equal.value == pytest.approx(0.7, abs=1e-6) and equal.length_test == 1.0


def test_difficulty_that_is_confounded_with_length_is_taken_out():
    rng = np.random.default_rng(8)
    hard = rng.standard_normal(4000)
    difference = 20 * hard + 10 * rng.standard_normal(4000)
    verdict = (rng.random(4000) < 1 / (1 + np.exp(-0.4 - 1.0 * hard))).astype(float)
    without = length_controlled.win_rate(verdict, difference, np.zeros(4000), draws=20)
    given = length_controlled.win_rate(verdict, difference, np.zeros(4000), hard, draws=20)
    assert without.length_test < 1e-6 and abs(given.length_effect) < 0.25 < without.length_effect


def test_a_side_that_always_wins_is_flagged():
    found = length_controlled.win_rate(np.ones(20), np.arange(20.0), np.zeros(20), draws=20)
    assert found.separated and found.value == pytest.approx(1.0, abs=1e-3)


def test_holm_is_the_textbook_adjustment_and_keeps_the_family_error():
    np.testing.assert_allclose(multiplicity.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert np.isnan(multiplicity.holm([0.01, np.nan])[1]) and multiplicity.holm([0.01, np.nan])[0] == 0.01
    p_value = np.random.default_rng(7).random((2000, 6))
    rejected = [(multiplicity.holm(p_M) < 0.1).any() for p_M in p_value]
    assert 0.07 < np.mean(rejected) < 0.12


def test_scores_that_cannot_be_paired_are_refused():
    with pytest.raises(DataError, match="cannot be paired"):
        win_rates.paired(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match="the first at prompt 1"):
        win_rates.paired(np.array([0.0, np.nan]), np.zeros(2))
    with pytest.raises(DataError, match="0 trials"):
        win_rates.WinRate(0, 3, 0).decided_interval()
