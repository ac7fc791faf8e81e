"""Variance components: what the residuals say of trunks and branches."""

import numpy as np
import pytest

from analysis.laws.intervals.components import components


def test_independent_runs_are_a_chi_square():
    """Without trunks the variance is the residual sum of squares over a chi-square of n − p degrees of freedom, exactly."""
    rng = np.random.default_rng(0)
    jacobian, residual = rng.standard_normal((3, 20)), rng.standard_normal(20)
    found = components(residual, np.arange(20), jacobian)
    solution = np.linalg.lstsq(jacobian.T, residual, rcond=None)
    assert found.dof == 17
    assert found.square_S == pytest.approx(solution[1], rel=1e-12)
    between, within = found.draw(4000, rng)
    assert not between.any()
    assert np.mean(1 / within**2) == pytest.approx(17 / solution[1][0], rel=0.05)


def test_the_estimator_does_not_matter():
    """Adding any combination of the parameters' derivatives to the residuals changes nothing."""
    rng = np.random.default_rng(1)
    jacobian, residual, cluster = rng.standard_normal((3, 24)), rng.standard_normal(24), np.repeat(np.arange(6), 4)
    first = components(residual, cluster, jacobian)
    second = components(residual + 5 * jacobian[0] - 2 * jacobian[2], cluster, jacobian)
    assert first.square_S == pytest.approx(second.square_S, rel=1e-9)
    assert first.weight_S == pytest.approx(second.weight_S, rel=1e-9)


def test_a_balanced_mean_gets_students_t():
    """One mean over 5 trunks of 4 branches: drawn as the law's replicates are, its 90% interval is the t interval of 5 trunk means."""
    rng = np.random.default_rng(2)
    trunk = np.repeat(np.arange(5), 4)
    residual = 3 * rng.standard_normal(5)[trunk] + rng.standard_normal(20)
    between, within = components(residual - residual.mean(), trunk, np.ones((1, 20))).draw(40000, rng)
    draws = np.sqrt(between**2 / 5 + within**2 / 20) * rng.standard_normal(40000)
    means = residual.reshape(5, 4).mean(axis=1)
    expected = 2.132 * means.std(ddof=1) / np.sqrt(5)
    assert np.quantile(draws, 0.95) == pytest.approx(expected, rel=0.05)


def test_a_table_without_noise_is_not_an_error():
    found = components(np.zeros(12), np.repeat(np.arange(4), 3), np.ones((1, 12)))
    between, within = found.draw(10, np.random.default_rng(0))
    assert np.max(between) < 1e-9 and np.max(within) < 1e-9


def test_no_residual_degrees_of_freedom_are_refused():
    with pytest.raises(ValueError, match="3 runs leave no residual beside 3 parameters"):
        components(np.zeros(3), np.arange(3), np.eye(3))
