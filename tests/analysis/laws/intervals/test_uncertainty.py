"""Bootstrap schemes, noise, forecasts: that they resample what they say, and that intervals cover."""

import numpy as np
import pandas as pd
import pytest
from etils import epath

from analysis.laws import parametric, study
from analysis.laws.intervals import bootstrap, noise
from analysis.laws.tables import records, table
from tests.analysis import synthetic

LAW = synthetic.KnownLaw()
TRUTH = {"E": LAW.E, "alpha": LAW.alpha, "beta": LAW.beta, "a": LAW.beta / (LAW.alpha + LAW.beta)}


def ladder_table(seed: int, **options) -> table.RunsTable:
    path = epath.Path("synthetic/record.json")
    return table.build(pd.DataFrame([records.flattened(item, path) for item in synthetic.ladder(seed, **options)]))


def test_cases_are_drawn_by_cluster_within_strata():
    clusters = np.repeat(np.arange(24), 3)
    strata = np.repeat(np.arange(6), 12)
    weights = bootstrap.case_weights(clusters, strata, 200, np.random.default_rng(0))
    by_cluster = weights.reshape(200, 24, 3)
    assert (by_cluster == by_cluster[:, :, :1]).all()
    assert (by_cluster[:, :, 0].reshape(200, 6, 4).sum(axis=2) == 4).all()


def test_few_trunks_use_shared_residuals_and_many_runs_use_cases(ladder, epoch):
    rng = np.random.default_rng(0)
    shared = bootstrap.draw(ladder, noise.Noise(None, 0, 0.01, 0.0, 30, ""), 50, rng)
    assert shared.weights_RxK is None
    branches = np.flatnonzero(ladder.frame["cluster"] == "s1")
    assert np.ptp(shared.noise_RxK[:, branches], axis=1).max() == 0
    many = bootstrap.draw(epoch, noise.Noise(None, 0, 0.0, 0.01, 200, ""), 50, rng)
    assert many.weights_RxK.sum(axis=1) == pytest.approx(np.full(50, len(epoch)))


def test_replicates_measure_seed_noise(ladder):
    value, dof = noise.replicate_noise(ladder)
    assert dof == 4
    assert 0.001 < value < 0.02


def test_replicates_raise_noise_that_the_residuals_hide(ladder):
    """Residuals of a fit that follows its data are too small: the replicates bring the estimate up."""
    found = noise.estimate(ladder, np.full(len(ladder), 1e-6), 5)
    assert found.total > 1e-3
    assert "raise" in found.explanation


@pytest.mark.slow
def test_the_same_seed_gives_the_same_study(ladder):
    first, second = (study.fit_all(ladder, study.Options(bootstrap=30, seed=5)).to_json() for _ in range(2))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "shared"), [(0.005, 0.5), (0.01, 0.9)])
def test_intervals_cover_on_synthetic_ladders(spread, shared):
    """40 ladders of the demo's shape: 90% intervals of parameters hold the truth 77 to 100% of the time.

    (36 expected; 31 is 2.6 binomial standard deviations below.) An interval that holds it always could be as wide as it
    likes, so those of the exponent are held against the spread of the estimates over the ladders, too: a Gaussian's 90%
    interval is 3.29 standard deviations wide.
    """
    ladders, inside = 40, dict.fromkeys(TRUTH, 0)
    estimates, widths = [], []
    for seed in range(ladders):
        runs, rng = ladder_table(seed, noise=spread, between=shared), np.random.default_rng(seed)
        plain = parametric.fit(runs)
        run_noise = noise.estimate(runs, plain.details["residual"], 5)
        law = parametric.fit(runs, bootstrap.draw(runs, run_noise, 200, rng))
        for name, truth in TRUTH.items():
            low, high = {**law.parameters, **law.derived}[name].interval
            inside[name] += low <= truth <= high
        exponent = law.derived["a"]
        estimates.append(exponent.value)
        widths.append(exponent.interval[1] - exponent.interval[0])
    assert all(count >= 31 for count in inside.values()), inside
    assert 0.6 < np.median(widths) / (3.29 * np.std(estimates)) < 1.6
