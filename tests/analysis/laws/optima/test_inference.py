"""The inference-aware optimum."""

import numpy as np
import pytest
from scipy import optimize

from analysis.laws.optima import inference, optimal

# Epoch's re-estimate of Chinchilla: log A, log B, log E, alpha, beta.
THETA = np.array([[np.log(482.01), np.log(2085.43), np.log(1.8172), 0.3478, 0.3658]])


def test_without_inference_it_is_chinchillas_optimum():
    at = optimal.optimum(THETA, np.log(1e22))
    found = inference.optimum(THETA, np.exp(at.log_loss), 0.0)
    assert found.log_params[0] == pytest.approx(at.log_params[0], abs=1e-4)
    assert found.log_flops[0] == pytest.approx(np.log(1e22), abs=1e-8)


def test_it_is_the_minimum_of_lifetime_compute():
    """Against scipy's scalar minimiser of 6·N·D + 2·N·D_inference along the curve of constant loss."""
    loss, served = 2.1, 2e12

    def lifetime(log_n):
        left = loss - np.exp(THETA[0, 2]) - np.exp(THETA[0, 0] - THETA[0, 3] * log_n)
        if left <= 0:
            return 1e9
        return np.log(6 * np.exp((THETA[0, 1] - np.log(left)) / THETA[0, 4]) + 2 * served) + log_n

    best = optimize.minimize_scalar(
        lifetime, bounds=(np.log(1e9), np.log(1e12)), method="bounded", options={"xatol": 1e-10}
    )
    found = inference.optimum(THETA, np.array([loss]), served)
    assert found.log_flops[0] == pytest.approx(best.fun, abs=1e-9)
    assert found.log_params[0] == pytest.approx(best.x, abs=1e-3)


def test_more_inference_makes_smaller_models_trained_longer():
    """The direction of Sardana et al.'s figure 1, and savings that only grow."""
    loss = np.array([2.1])
    ends = [inference.optimum(THETA, loss, served) for served in (0.0, 1e11, 1e12, 1e13)]
    assert np.all(np.diff([end.log_params[0] for end in ends]) < 0) and np.all(
        np.diff([end.log_tokens[0] for end in ends]) > 0
    )


def test_a_loss_below_the_floor_is_refused():
    with pytest.raises(ValueError, match="at or below E"):
        inference.optimum(THETA, np.array([1.5]), 1e12)
