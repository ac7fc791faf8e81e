"""Intervals of approaches 1 and 2, and of forecasts by a form that is not the truth, over many tables from known laws."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import parametric
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
