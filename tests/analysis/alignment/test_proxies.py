"""The gold-reward laboratory: a law for each proxy, and the axes that move what a proxy is worth."""

import numpy as np
import pytest

from analysis.alignment import proxies, study
from analysis.alignment.measurements import read
from analysis.alignment.study import Options
from tests.analysis.alignment import runs

# More comparisons: a larger alpha, as Gao et al. 2022 found (figure 3).
ALPHA = {256: 0.4, 1024: 0.7, 4096: 1.1}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> study.AlignmentStudy:
    root, rng = tmp_path_factory.mktemp("laboratory"), np.random.default_rng(3)
    for params in (50_000, 200_000):
        for comparisons, alpha in ALPHA.items():
            proxy = {
                "params": params,
                "comparisons": comparisons,
                "label_noise": 0.2,
                "accuracy": 0.5 + alpha / 4,
                "members": 1,
                "combine": "mean",
            }
            for seed in range(3):
                rows = runs.curve(alpha, 0.3, 30.0, rng, noise=0.01)
                name = f"ppo-{params}-{comparisons}-{seed}"
                runs.write(root, "ppo", {"beta": 0.1}, seed, rows, kind="ppo", proxy=proxy, run_id=name)
    return study.study(read([str(root)]), Options(draws=50))


def test_every_proxy_has_its_own_law_and_the_planted_coefficient_is_inside(found):
    assert [(law.axes["proxy_params"], law.axes["proxy_comparisons"]) for law in found.proxies] == [
        (params, comparisons) for params in (50_000, 200_000) for comparisons in ALPHA
    ]
    for law in found.proxies:
        low, high = law.law.parameters["alpha"].interval
        assert low - 0.05 < ALPHA[law.axes["proxy_comparisons"]] < high + 0.05
    # Together they would be three curves in one law.
    assert found.panels[0].laws == []


def test_the_axis_that_matters_is_found_and_the_one_that_does_not_is_not_called_one(found):
    """Comparisons and accuracy move the best gain; two sizes are too few to speak of a trend."""
    assert {trend.axis: round(trend.correlation, 1) > 0.8 for trend in found.proxy_trends} == {
        "proxy_comparisons": True,
        "proxy_accuracy": True,
    }
    assert all(trend.p_value < 0.05 for trend in found.proxy_trends)


def test_one_proxy_is_no_laboratory(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(2):
        runs.write(
            tmp_path, "ppo", {}, seed, runs.curve(1.0, 0.3, 20.0, rng), kind="ppo", proxy={"params": 1, "members": 1}
        )
    frame = read([str(tmp_path)])
    assert not proxies.several(frame.frame) and study.study(frame, Options(draws=20)).proxies == []
