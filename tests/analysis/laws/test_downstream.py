"""Accuracy from loss: the sigmoid by binomial likelihood, chained behind the law of the loss."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special

from analysis.laws import downstream, parametric
from analysis.laws.forms import sigmoid
from analysis.laws.intervals import bootstrap
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables import sources, table

TRUTH = (4.0, 2.8, 0.25, 0.9)


def answered(seed, trials=1000, losses=None):
    losses = np.linspace(2.0, 4.0, 20) if losses is None else losses
    rng = np.random.default_rng(seed)
    right = rng.binomial(trials, sigmoid.accuracy(TRUTH, losses, np))
    return pd.DataFrame({"loss": losses, "accuracy": right / trials, "trials": trials})


@pytest.mark.slow
def test_the_fit_is_the_maximum_of_the_likelihood():
    """The binomial likelihood, maximised by scipy from the truth, is not above ours."""
    frame = answered(0)
    found = downstream.fit(frame, replicates=0)

    def deviance(theta):
        p = np.clip(sigmoid.accuracy(theta, frame["loss"].to_numpy(), np), 1e-9, 1 - 1e-9)
        return -np.sum(
            frame["trials"] * (special.xlogy(frame["accuracy"], p) + special.xlog1py(1 - frame["accuracy"], -p))
        )

    other = optimize.minimize(
        deviance, TRUTH, method="Nelder-Mead", options={"maxiter": 5000, "xatol": 1e-9, "fatol": 1e-9}
    )
    assert found.objective <= other.fun * (1 + 1e-10)
    np.testing.assert_allclose(found.theta, other.x, rtol=1e-3)


@pytest.mark.slow
def test_intervals_of_the_sigmoid_cover():
    """Nominal 90% over 40 tables of 20 runs: 30 or more hold the truth (36 expected)."""
    inside = np.zeros(4)
    for seed in range(40):
        law = downstream.fit(answered(seed), replicates=100, rng=np.random.default_rng(seed))
        for index, (item, truth) in enumerate(zip(law.parameters.values(), TRUTH, strict=True)):
            inside[index] += item.interval[0] <= truth <= item.interval[1]
    assert inside.min() >= 30, inside


def test_the_chain_carries_the_uncertainty_of_the_loss():
    """A forecast through a noisy loss law is wider than one through an exact law, and both hold the truth."""
    rng = np.random.default_rng(3)
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    exact = 1.8 + 400 / n**0.34 + 1500 / d**0.37
    task = downstream.fit(answered(1, trials=1_000_000), replicates=100)
    widths = []
    for spread in (1e-4, 1e-2):
        noise = spread * rng.standard_normal((100, len(n)))
        runs = table.build(
            sources.from_frame(pd.DataFrame({"params": n, "tokens": d, "loss": exact * np.exp(noise[0])}))
        )
        law = parametric.fit(runs, bootstrap.Draws(noise))
        made = downstream.forecast(law, task, params=1e10, tokens=1e12, trials=1_000_000, rng=rng)
        truth = sigmoid.accuracy(TRUTH, 1.8 + 400 / 1e10**0.34 + 1500 / 1e12**0.37, np)
        assert made.interval[0] <= truth <= made.interval[1]
        widths.append(made.interval[1] - made.interval[0])
    assert widths[1] > 1.2 * widths[0]


def test_runs_at_chance_are_flagged_and_too_few_are_refused():
    at_chance = downstream.fit(answered(2, losses=np.linspace(6.0, 9.0, 12)), replicates=0)
    assert isinstance(at_chance, Result) and any("above chance" in flag for flag in at_chance.flags)
    assert isinstance(downstream.fit(answered(2, losses=np.array([3.0, 2.5]))), NotFitted)
