"""Derivatives of the form family against finite differences."""

import numpy as np
import pytest

from analysis.laws import kaplan, parametric
from analysis.laws.optima.frontier import WITH_FLOOR


@pytest.mark.parametrize(
    "form", [parametric.FORM, kaplan.ND_FORM, WITH_FLOOR], ids=["chinchilla", "kaplan", "frontier"]
)
def test_jacobian_and_curvature_match_finite_differences(form):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(30, 3)), rng.normal(size=(4, 30))
    theta, step = rng.uniform(0.2, 1.0, (4, len(form.names))), 1e-6
    value, jacobian = form.value_and_jacobian(theta, x)
    np.testing.assert_allclose(form.value(theta, x), value, rtol=1e-14)
    curvature = form.curvature(theta, x, g)
    for p in range(theta.shape[1]):
        ends = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[:, p] += sign * step
            ends.append(form.value_and_jacobian(moved, x))
        np.testing.assert_allclose((ends[0][0] - ends[1][0]) / (2 * step), jacobian[:, p], atol=1e-8)
        slope = np.einsum("rk,rpk->rp", g, (ends[0][1] - ends[1][1]) / (2 * step))
        np.testing.assert_allclose(slope, curvature[:, p], atol=1e-7)
