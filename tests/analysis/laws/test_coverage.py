"""Intervals of approaches 1 and 2, and of forecasts by a form that is not the truth, over many tables from known laws."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import kaplan, parametric
from analysis.laws.forecasts import prediction
from analysis.laws.intervals import bootstrap, noise
from analysis.laws.optima import envelope, isoflop
from analysis.laws.tables import sources, table
from tests.analysis import synthetic

LAW = synthetic.KnownLaw()
EXPONENT = LAW.beta / (LAW.alpha + LAW.beta)
# A Gaussian's 90% interval in standard deviations.
GAUSSIAN = 3.29


def isoflop_grid(rng: np.random.Generator, spread: float) -> table.RunsTable:
    """Nine sizes and 15 budgets a factor of two apart; at each budget the sizes within a factor of four of the optimum."""
    ratio = (LAW.alpha * LAW.A / (LAW.beta * LAW.B)) ** (1 / (LAW.alpha + LAW.beta))
    flops, params = (axis.ravel() for axis in np.meshgrid(1e12 * 2.0 ** np.arange(15), 2e4 * 2.0 ** np.arange(9)))
    best = ratio * (flops / 6) ** EXPONENT
    near = np.abs(np.log(params / best)) < np.log(4.0)
    params, tokens = params[near], (flops / (6 * params))[near]
    loss = LAW.loss(params, tokens) * np.exp(spread * rng.standard_normal(len(params)))
    return table.build(sources.from_frame(pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})))


@pytest.mark.slow
def test_exponents_of_approaches_1_and_2_cover_and_are_no_wider_than_they_must():
    """60 tables: 90% intervals hold the truth in 47 or more (54 expected, three binomial standard deviations more than 47).

    Their width is held against the spread of the estimates over the tables, for an interval that is as wide as it likes
    always covers.
    """
    found = {module: [] for module in (envelope, isoflop)}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        runs = isoflop_grid(rng, 0.003)
        run_noise = noise.estimate(runs, parametric.fit(runs).details["residual"], 5)
        draws = bootstrap.draw(runs, run_noise, 200, rng)
        for module, estimates in found.items():
            item = module.fit(runs, draws).parameters["a"]
            estimates.append((item.value, *item.interval))
    for module, estimates in found.items():
        value, low, high = np.array(estimates).T
        covered = int(np.sum((low <= EXPONENT) & (high >= EXPONENT)))
        assert covered >= 47, (module.NAME, covered)
        assert 0.6 < np.median(high - low) / (GAUSSIAN * np.std(value)) < 1.6, module.NAME


def neither_form(n, d):
    """A power of the sum, with a floor: between Chinchilla's law and Kaplan's, and reached by neither."""
    return 1.6 + (35 * n**-0.35 + 900 * d**-0.5) ** 0.6


def forecasts(truth, seeds: int) -> tuple[int, int, float]:
    """Forecasts of a run at ten times the size and tokens: how many hold it with and without doubt of the form, and the ratio of widths."""
    inside, widths = {"doubted": 0, "trusted": 0}, []
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e4, 1e6, 7), np.geomspace(2e5, 2e7, 6)))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        loss = truth(n, d) * np.exp(0.003 * rng.standard_normal(len(n)))
        runs = table.build(sources.from_frame(pd.DataFrame({"params": n, "tokens": d, "loss": loss})))
        run_noise = noise.estimate(runs, parametric.fit(runs).details["residual"], 5)
        law = parametric.fit(runs, bootstrap.draw(runs, run_noise, 100, rng))
        doubt = prediction.doubt_of(runs, law, kaplan.fit_nd(runs, bootstrap.NO_DRAWS, 0.9), run_noise)
        measured = truth(1e7, 2e8) * np.exp(0.003 * rng.standard_normal())
        width = {}
        for name, item in (("doubted", doubt), ("trusted", prediction.Doubt(None, 0.0, 0.0, np.zeros((0, 2))))):
            made = prediction.forecast(law, runs, run_noise, item, params=1e7, tokens=2e8, flops=1.2e16, rng=rng)
            inside[name] += made.interval[0] <= measured <= made.interval[1]
            width[name] = np.log(made.interval[1] / made.interval[0])
        widths.append(width["doubted"] / width["trusted"])
    return inside["doubted"], inside["trusted"], float(np.median(widths))


@pytest.mark.slow
def test_doubt_of_the_form_widens_forecasts_where_the_form_is_wrong_and_only_there():
    """Trusted, a wrong form misses; doubted, it covers; and a form that is right is hardly doubted."""
    doubted, trusted, wider = forecasts(neither_form, 20)
    assert doubted >= 18 and trusted <= 16 and wider > 2
    doubted, _, wider = forecasts(LAW.loss, 12)
    assert doubted >= 9 and wider < 1.2


def test_rollouts_that_err_to_one_side_are_flagged():
    """Two of four beyond noise, to the same side; errors of both signs, or within noise, say nothing."""

    def flags(*biases):
        windows = tuple(prediction.Window(20, 10, 1e12, 4.0, bias, abs(bias), 0.01) for bias in biases)
        return prediction.Doubt(None, 0.0, 0.0, np.zeros((0, 2)), windows).flags

    assert "too low for the law" in flags(-0.02, -0.03, -0.012, -0.012)[0]
    assert "too high for the law" in flags(0.02)[0]
    assert not flags(-0.02, 0.03, 0.0, 0.0) and not flags(-0.02, 0.0, 0.0, 0.0) and not flags(-0.01, -0.01)
