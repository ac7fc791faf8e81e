"""Forecasts of single runs and their checks: what they say of distance, of the law beside them, and of a measurement."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.laws import parametric
from analysis.laws.forecasts import check, forecast, outlook
from analysis.laws.intervals import noise
from analysis.laws.tables import sources, table
from tests.analysis import synthetic

LAW = synthetic.KnownLaw()


def fitted(loss_of, spread: float = 0.003):
    """Seven sizes at six token budgets, with noise: the table, its law, its noise and its outlook."""
    rng = np.random.default_rng(4)
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e4, 1e6, 7), np.geomspace(2e5, 2e7, 6)))
    loss = loss_of(n, d) * np.exp(spread * rng.standard_normal(len(n)))
    runs = table.build(sources.from_frame(pd.DataFrame({"params": n, "tokens": d, "loss": loss})))
    law = parametric.fit(runs)
    return runs, law, noise.estimate(runs, law.details["residual"], 5), outlook.of(runs)


@pytest.fixture(scope="module")
def known():
    return fitted(LAW.loss)


def made(parts, factor: float) -> forecast.Forecast:
    runs, law, run_noise, ahead = parts
    params, tokens = (float(runs.frame[name].max()) * factor**0.5 for name in ("params", "tokens"))
    return forecast.forecast(law, runs, run_noise, ahead, params=params, tokens=tokens, flops=6 * params * tokens)


def test_forecasts_widen_with_distance_and_say_how_far(known):
    found = [made(known, factor) for factor in (1.0, 10.0, 1e5)]
    widths = [np.log(item.interval[1] / item.interval[0]) for item in found]
    assert widths[0] < widths[1] < widths[2]
    assert [item.reach["flops"] for item in found] == pytest.approx([1, 10, 1e5])
    assert any("farther than a factor of ten" in flag for flag in found[2].flags)
    assert all("weighed by" in " ".join(item.flags) for item in found)


def test_a_forecast_near_the_data_is_the_truth_within_its_noise(known):
    found = made(known, 2.0)
    truth = LAW.loss(found.params, found.tokens)
    assert found.value == pytest.approx(truth, rel=0.005)
    assert found.interval[1] / found.interval[0] - 1 < 0.05


def test_a_law_that_lies_outside_the_interval_is_said_to(known):
    """The forecast follows the runs and not the law beside it: with E a fifth too high the law is contradicted, and nothing else moves."""
    runs, law, run_noise, ahead = known
    wrong = dataclasses.replace(law, theta=law.theta + np.array([0, 0, 0.2, 0, 0]))
    plain, found = made(known, 2.0), made((runs, wrong, run_noise, ahead), 2.0)
    assert found.value == plain.value and found.by_law > found.interval[1]
    assert any("the parametric law alone would say" in flag for flag in found.flags)
    assert not any("the parametric law alone would say" in flag for flag in plain.flags)


def test_an_outside_measurement_is_called_outside(known):
    item = made(known, 4.0)
    verdict = check.check(item.value * 1.2, "worse", item)
    assert not verdict.inside and verdict.sigma > 3 and "OUTSIDE" in verdict.in_words()
    low, high = item.interval
    assert item.deviation == pytest.approx(np.log(high / low) / 2 / 1.6449, rel=1e-3)
