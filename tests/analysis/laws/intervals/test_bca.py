"""BCa against scipy, and the jackknife of a fit against fits of smaller tables."""

import numpy as np
import pytest
from scipy import stats

from analysis.laws import parametric
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER
from analysis.laws.intervals import bca, bootstrap


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_bca_is_scipys(level):
    """The same replicates of a skewed mean give scipy.stats.bootstrap's BCa interval; the percentile interval is another one."""
    values = np.random.default_rng(0).lognormal(size=30)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, confidence_level=level, method="BCa", rng=np.random.default_rng(1)
    )
    replicates = reference.bootstrap_distribution
    left_out = np.array([np.delete(values, index).mean() for index in range(len(values))])
    low, high = bca.interval(values.mean(), replicates, left_out, level)
    expected = reference.confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert high - np.quantile(replicates, (1 + level) / 2) > 1e-3


def test_symmetric_replicates_need_no_correction():
    replicates = np.linspace(-1, 1, 2001)
    assert bca.bias_correction(0.0, replicates) == pytest.approx(0, abs=1e-12)
    assert bca.acceleration(np.array([-1.0, 0.0, 1.0])) == 0
    assert bca.acceleration(np.full(4, 2.0)) == 0
    assert bca.interval(0.0, replicates, np.array([-1.0, 0.0, 1.0]), 0.9) == pytest.approx((-0.9, 0.9))


def test_replicates_on_one_side_still_give_an_interval():
    low, high = bca.interval(0.0, np.linspace(1, 2, 200), np.array([-1.0, 0.0, 1.0]), 0.9)
    assert 1 <= low <= high <= 2


def test_leaving_a_cluster_out_is_fitting_the_others(ladder):
    """Zero weights in one engine call end where separate fits of the smaller tables end, for clusters and not for single runs."""
    form = parametric.FORM
    cluster_K = ladder.codes("cluster")
    x_KxV, y_K = fitting.variables(form, ladder), ladder.log("loss")
    centred, w_K = x_KxV - x_KxV.mean(axis=0), np.ones(len(y_K))
    optimum = solve.solve(form, centred, y_K, w_K, HUBER)
    left_out = bca.leave_one_out(form, centred, y_K, w_K, optimum.theta, cluster_K, HUBER)
    assert len(left_out) == cluster_K.max() + 1 < len(y_K)
    for cluster in (0, 3):
        kept = cluster_K != cluster
        alone = solve.solve(form, centred[kept], y_K[kept], w_K[kept], HUBER)
        assert left_out[cluster] == pytest.approx(alone.theta, abs=1e-6)


def test_a_law_says_that_its_intervals_are_bca(epoch):
    """Asked for by name, stated in the result, and different from the percentiles of the same replicates."""
    weights = np.random.default_rng(0).multinomial(len(epoch), np.full(len(epoch), 1 / len(epoch)), 60).astype(float)
    noise_RxK = np.zeros((60, len(epoch)))
    plain = parametric.fit(epoch, bootstrap.Draws(noise_RxK, weights))
    corrected = parametric.fit(epoch, bootstrap.Draws(noise_RxK, weights, interval=bootstrap.BCA))
    assert corrected.parameters["beta"].method.startswith("BCa of 60 bootstrap replicates over runs")
    assert corrected.parameters["beta"].interval != plain.parameters["beta"].interval
    assert corrected.replicates == pytest.approx(plain.replicates)
