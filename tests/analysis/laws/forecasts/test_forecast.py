"""Forecasts under doubt of the form: the rival's credibility, and intervals where the law is the wrong one."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import kaplan, parametric
from analysis.laws.forecasts import prediction
from analysis.laws.intervals import bootstrap, likelihood, noise
from analysis.laws.tables import sources, table


def kaplan_loss(n, d):
    """Kaplan's L(N, D) with exponents of the size that tiny models show."""
    return ((2e7 / n) ** (0.18 / 0.25) + 3e7 / d) ** 0.25


def kaplan_frame(rng: np.random.Generator, spread: float = 0.003) -> pd.DataFrame:
    """Seven sizes at six token budgets each, every run on its own."""
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e4, 1e6, 7), np.geomspace(2e5, 2e7, 6)))
    return pd.DataFrame({
        "params": n, "tokens": d, "loss": kaplan_loss(n, d) * np.exp(spread * rng.standard_normal(len(n))),
    })  # fmt: skip


def forecast_of(frame: pd.DataFrame, factor: float, rng: np.random.Generator, replicates: int = 100):
    """The forecast, by the parametric law, of a run of `factor` times the largest size and tokens."""
    runs = table.build(sources.from_frame(frame))
    plain = parametric.fit(runs)
    run_noise = noise.estimate(runs, plain.details["residual"], 5)
    law = parametric.fit(runs, bootstrap.draw(runs, run_noise, replicates, rng))
    doubt = prediction.doubt_of(runs, law, kaplan.fit_nd(runs, bootstrap.NO_DRAWS, 0.9), run_noise)
    params, tokens = factor * frame["params"].max(), factor * frame["tokens"].max()
    made = prediction.forecast(
        law, runs, run_noise, doubt, params=params, tokens=tokens, flops=6 * params * tokens, rng=rng
    )
    return made, doubt


def test_a_rival_that_is_the_truth_is_credible_and_widens_the_forecast():
    """Losses from Kaplan's L(N, D): a weight of one must not make the doubt vanish, and the report must say it."""
    made, doubt = forecast_of(kaplan_frame(np.random.default_rng(0)), 10, np.random.default_rng(1))
    assert doubt.rival_weight > 0.99
    apart = abs(np.log(float(np.exp(doubt.rival.log_loss(made.params, made.tokens))[0]) / made.value))
    assert apart > 0.02
    assert made.parts["form"] >= 0.99 * apart
    assert any("kaplan_nd describes these runs better" in flag for flag in made.flags)
    assert made.interval[0] <= kaplan_loss(made.params, made.tokens) <= made.interval[1]


def test_a_rival_that_is_wrong_is_not_credible(small_study):
    assert small_study.doubt.rival_weight < 0.2
    assert not any("describes these runs better" in flag for flag in small_study.checks[0].forecast.flags)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0])
def test_deviance_counts_a_factor_of_two_alike_below_and_above_delta(scale):
    """All residuals halved: n·ln 4, from the squares where they are far below delta, from the sizes where they are far above."""
    residual = scale * np.random.default_rng(0).standard_normal((1, 50))
    whole, half = (
        likelihood.deviance(float(likelihood.huber_sum(values, np.ones((1, 1)), 1e-3)[0]), 50, 1e-3)
        for values in (residual, residual / 2)
    )
    assert whole - half == pytest.approx(100 * np.log(2), rel=0.05)


def test_evidence_from_branches_of_few_trunks_counts_less():
    """The same losses, once as independent runs and once as branches that share their trunk's noise."""
    frame = kaplan_frame(np.random.default_rng(2), 0.01)
    runs = table.build(sources.from_frame(frame))
    branches = table.build(sources.from_frame(frame.assign(cluster=frame.groupby("params").ngroup().astype(str))))
    law, rival = parametric.fit(runs), kaplan.fit_nd(runs, bootstrap.NO_DRAWS, 0.9)
    alone, together = (
        prediction.credibility(item, law, rival, noise.Noise(None, 0, between, 0.004, 20, ""))
        for item, between in ((runs, 0.0), (branches, 0.009))
    )
    assert 0.5 < together < alone
