"""Over-optimisation laws from points that a known law made."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import over_optimisation
from analysis.laws.errors import TableError
from analysis.laws.forms.over_optimisation import best_of_n_kl


@pytest.mark.parametrize(
    ("method", "beta", "gold"),
    [("best_of_n", 0.1, lambda d: d * (1.2 - 0.1 * d)), ("rl", 0.5, lambda d: d * (1.2 - 0.5 * np.log(d)))],
)
def test_the_law_and_its_peak_return(method, beta, gold):
    """Linear in alpha and beta, so one optimum: and it is numpy's own least-squares solution."""
    rng = np.random.default_rng(0)
    d = np.sqrt(np.geomspace(0.05, 100, 25))
    reward = gold(d) + 0.02 * rng.standard_normal(len(d))
    law = over_optimisation.fit(pd.DataFrame({"kl": d**2, "gold_reward": reward}), method)
    basis = np.stack([d, -d * d if method == "best_of_n" else -d * np.log(d)], axis=1)
    np.testing.assert_allclose(law.theta, np.linalg.lstsq(basis, reward, rcond=None)[0], rtol=1e-8)
    assert law.certificate.distinct_optima == 1
    low, high = law.parameters["beta"].interval
    assert low < law.theta[1] < high and abs(law.theta[1] - beta) < 2 * (high - low)
    peak = {"best_of_n": 1.2 / (2 * 0.1), "rl": np.exp(1.2 / 0.5 - 1)}[method]
    assert law.derived["peak_distance"].value == pytest.approx(peak, rel=0.03)


def test_best_of_n_may_be_given_by_n():
    n = np.array([1, 2, 4, 8, 16, 32, 64])
    d = np.sqrt(best_of_n_kl(n))
    frame = pd.DataFrame({"n": n, "gold_reward": d * (1.0 - 0.2 * d)})
    np.testing.assert_allclose(over_optimisation.fit(frame, "best_of_n").theta, [1.0, 0.2], rtol=1e-8)


def test_a_reward_that_never_turns_has_its_peak_at_infinity():
    d = np.sqrt(np.geomspace(0.1, 10, 8))
    law = over_optimisation.fit(pd.DataFrame({"kl": d**2, "gold_reward": d * (1.0 + 0.1 * d)}), "best_of_n")
    assert law.derived["peak_distance"].value == np.inf and law.to_json()["derived"]["peak_distance"]["value"] is None


def test_what_is_missing_is_named():
    with pytest.raises(TableError, match="gold_reward"):
        over_optimisation.fit(pd.DataFrame({"kl": [1.0]}), "rl")
    with pytest.raises(TableError, match="4 are needed"):
        over_optimisation.fit(pd.DataFrame({"kl": [0.0, 1.0, 2.0], "gold_reward": [0.0, 1.0, 1.5]}), "rl")
