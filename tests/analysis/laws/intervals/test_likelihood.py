"""The likelihood that a Huber fit maximises."""

import numpy as np
import pytest

from analysis.laws.intervals import likelihood


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0])
def test_deviance_counts_a_factor_of_two_alike_below_and_above_delta(scale):
    """All residuals halved: n·ln 4, from the squares where they are far below delta, from the sizes where they are far above."""
    residual = scale * np.random.default_rng(0).standard_normal((1, 50))
    whole, half = (
        likelihood.deviance(float(likelihood.huber_sum(values, np.ones((1, 1)), 1e-3)[0]), 50, 1e-3)
        for values in (residual, residual / 2)
    )
    assert whole - half == pytest.approx(100 * np.log(2), rel=0.05)
