"""The posterior of the law: its closed form against an outside implementation, and its intervals against known laws."""

import numpy as np
import pytest
from scipy import stats

from analysis.laws.errors import TableError
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.forms.form import evaluate
from analysis.laws.optima import optimal
from analysis.laws.planning import posterior as module
from analysis.laws.planning.posterior import posterior

THETA = np.array([np.log(406.4), np.log(1500.0), np.log(1.8), 0.34, 0.36])


def runs(count, noise, seed):
    rng = np.random.default_rng(seed)
    log_n, log_d = rng.uniform(np.log(1e7), np.log(3e9), count), rng.uniform(np.log(2e8), np.log(1e11), count)
    exact = evaluate(FORM, THETA[None], np.stack([log_n, log_d], axis=1))[0]
    return log_n, log_d, exact + noise * rng.standard_normal(count)


def test_the_evidence_is_that_of_a_normal_distribution():
    """Differences of log evidence between cells equal scipy's density of the losses, coefficients integrated out."""
    log_n, log_d, log_l = runs(7, 0.01, 0)
    spread = np.linspace(1.0, 2.0, 7)
    centred = module._Centred(log_n - log_n.mean(), log_d - log_d.mean(), np.exp(log_l - log_l.mean()), spread)
    alpha, beta = np.array([0.3, 0.5]), np.array([0.4, 0.2])
    found = module._conditionals(centred, alpha, beta)[0]
    expected = np.empty_like(found)
    for g in range(2):
        terms = np.stack([np.exp(-alpha[g] * centred.log_n), np.exp(-beta[g] * centred.log_d), np.ones(7)], axis=1)
        x = terms / centred.loss[:, None]
        for t, noise in enumerate(module._NOISES):
            covariance = np.diag((noise * spread) ** 2) + x @ x.T
            expected[g, t] = stats.multivariate_normal(np.zeros(7), covariance).logpdf(np.ones(7))
    assert found - found[0, 0] == pytest.approx(expected - expected[0, 0], abs=1e-6)


def test_many_exact_runs_give_the_law_back():
    """With 120 runs of little noise the draws close in on the truth."""
    found = posterior(*runs(120, 0.001, 1), np.random.default_rng(0), draws=256)
    assert found.theta[:, 3:].mean(axis=0) == pytest.approx(THETA[3:], abs=0.01)
    assert np.exp(found.theta[:, 2]).mean() == pytest.approx(1.8, abs=0.02)
    assert found.typical_noise == pytest.approx(0.001, rel=0.4)


def test_intervals_of_the_optimum_cover_known_laws():
    """The 90% interval of ln N_opt, a decade beyond the runs, holds the truth in about nine of ten tables of ten runs."""
    target = np.log(6 * 3e9 * 1e11 * 10)
    truth = optimal.optimum(THETA[None], target).log_params[0]
    inside = []
    for seed in range(60):
        found = posterior(*runs(10, 0.008, seed), np.random.default_rng(seed), draws=256)
        low, high = np.quantile(optimal.optimum(found.theta, target).log_params, [0.05, 0.95])
        inside.append(low <= truth <= high)
    assert 0.8 <= np.mean(inside) <= 1.0


def test_a_run_that_is_said_to_be_noisy_counts_for_less():
    """A spread of five on a run that is far off takes its pull away."""
    log_n, log_d, log_l = runs(12, 0.002, 3)
    log_l[0] += 0.08
    noise_of_all = posterior(log_n, log_d, log_l, np.random.default_rng(0)).typical_noise
    spread = np.where(np.arange(12) == 0, 20.0, 1.0)
    assert posterior(log_n, log_d, log_l, np.random.default_rng(0), spread=spread).typical_noise < 0.5 * noise_of_all


def test_losses_that_no_positive_law_explains_are_refused():
    """Losses that rise with both N and D leave no draw with positive coefficients."""
    log_n, log_d = (axis.ravel() for axis in np.meshgrid(np.linspace(15, 22, 8), np.linspace(18, 26, 8)))
    with pytest.raises(TableError, match="no law with positive E, A and B"):
        posterior(log_n, log_d, 0.5 * (log_n + log_d), np.random.default_rng(0))
