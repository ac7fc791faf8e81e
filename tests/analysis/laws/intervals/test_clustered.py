"""Weighted least squares with clusters, against closed forms."""

import numpy as np
import pytest

from analysis.laws.intervals import clustered


def test_alike_clusters_give_the_standard_error_and_degrees_of_their_means():
    """Where all clusters have one design, theta is the mean of their own fits: CR2 is that mean's variance and Satterthwaite's degrees are C - 1."""
    rng = np.random.default_rng(0)
    x, clusters = rng.standard_normal((6, 2)), 4
    y = rng.standard_normal((clusters, 6)) + rng.standard_normal((clusters, 1))
    found = clustered.fit(np.tile(x, (clusters, 1)), y.ravel(), np.ones(24), np.repeat(np.arange(clusters), 6))
    own = np.array([np.linalg.lstsq(x, y_c, rcond=None)[0] for y_c in y])
    np.testing.assert_allclose(found.theta_P, own.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(found.covariance_PxP, np.cov(own.T) / clusters, rtol=1e-8)
    for contrast in (np.array([1.0, 0.0]), np.array([0.3, -2.0])):
        assert found.degrees(contrast) == pytest.approx(clusters - 1, rel=1e-8)


def test_single_points_as_clusters_are_hc2():
    """HC2: squared residuals over 1 - leverage (MacKinnon and White 1985), with weights inside."""
    rng = np.random.default_rng(1)
    x, y, weight = rng.standard_normal((12, 2)), rng.standard_normal(12), rng.uniform(0.5, 2.0, 12)
    found = clustered.fit(x, y, weight, np.arange(12))
    root_x, root_y = x * np.sqrt(weight)[:, None], y * np.sqrt(weight)
    bread = np.linalg.inv(root_x.T @ root_x)
    residual = root_y - root_x @ (bread @ root_x.T @ root_y)
    leverage = np.einsum("kp,pq,kq->k", root_x, bread, root_x)
    meat = (root_x * (residual**2 / (1 - leverage))[:, None]).T @ root_x
    np.testing.assert_allclose(found.covariance_PxP, bread @ meat @ bread, rtol=1e-9)


def test_draws_have_the_covariance_of_their_t_distribution():
    rng = np.random.default_rng(2)
    found = clustered.fit(rng.standard_normal((40, 2)), rng.standard_normal(40), np.ones(40), np.arange(40))
    draws = found.draws(200_000, rng)
    degrees = min(found.degrees(contrast) for contrast in np.eye(2))
    np.testing.assert_allclose(
        np.cov(draws.T), found.covariance_PxP * degrees / (degrees - 2), atol=2e-3 * found.covariance_PxP.max() * 10
    )
