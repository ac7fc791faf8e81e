"""Forecasts: rollouts, the weights they give, intervals calibrated on what they missed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.laws import parametric
from analysis.laws.forecasts import calibration, check, contenders, ensemble, forecast, validation
from analysis.laws.forecasts.calibration import Errors, Scale
from analysis.laws.forecasts.contenders import CANDIDATES, Points, points_of
from analysis.laws.intervals import noise
from analysis.laws.tables import sources, table
from tests.analysis import synthetic

LAW = synthetic.KnownLaw()


def grid(truth, rng: np.random.Generator, spread: float = 0.003, sizes=(1e4, 1e6, 7), tokens=(2e5, 2e7, 6)) -> Points:
    """Sizes by token budgets, with noise, by ascending compute."""
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(*sizes), np.geomspace(*tokens)))
    order = np.argsort(n * d, kind="stable")
    n, d = n[order], d[order]
    loss = truth(n, d) * np.exp(spread * rng.standard_normal(len(n)))
    return Points(np.log(np.stack([n, d], axis=1)), np.log(6 * n * d), np.log(loss))


def kaplan_loss(n, d):
    """Kaplan's L(N, D) with exponents of the size that tiny models show."""
    return ((2e7 / n) ** (0.18 / 0.25) + 3e7 / d) ** 0.25


def neither_form(n, d):
    """A power law whose exponents fall with scale, beside a floor: reached by no candidate."""
    return 1.6 + 40 / n ** (0.30 + 0.25 / np.log10(n)) + 900 / d ** (0.42 + 0.3 / np.log10(d)) + 3e3 / (n * d) ** 0.3


def weight_of(found: ensemble.Ensemble, form: str) -> float:
    return sum(
        weight for candidate, weight in zip(CANDIDATES, found.weights, strict=True) if candidate.form.name == form
    )


def test_windows_end_between_budgets_and_predict_what_is_left():
    """No window splits the runs of one budget, each is larger than the one before, and none is empty."""
    points = grid(LAW.loss, np.random.default_rng(0))
    counts = ensemble.window_counts(points)
    assert len(counts) >= 4 and list(counts) == sorted(set(counts)) and counts[-1] < len(points)
    for count in counts:
        assert points.log_flops[count] - points.log_flops[count - 1] > 0.02


def test_a_window_sees_nothing_of_the_runs_it_predicts():
    """Dear runs made worse by a tenth: what the windows before them predicted does not move by a bit."""
    points = grid(LAW.loss, np.random.default_rng(0))
    count = ensemble.window_counts(points)[1]
    spoiled = np.where(np.arange(len(points)) < count, points.log_loss, points.log_loss + 0.1)
    first, second = (
        contenders.fit(dataclasses.replace(points, log_loss=loss), (count,)).log_loss(points.log_nd)
        for loss in (points.log_loss, spoiled)
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_rollouts_credit_the_form_that_made_the_data():
    """Kaplan's law is credited on its own data and not on Chinchilla's, and the other way round."""
    own = ensemble.fit(grid(kaplan_loss, np.random.default_rng(0)))
    other = ensemble.fit(grid(LAW.loss, np.random.default_rng(0)))
    assert weight_of(own, "kaplan_nd") > 0.5 > 5 * weight_of(other, "kaplan_nd")
    assert weight_of(other, "chinchilla_parametric") + weight_of(other, "skaling") > 0.5


def test_the_interval_holds_a_share_of_exchangeable_errors():
    """Errors from one distribution: the multiplier is their quantile, at a level raised for their number."""
    rng = np.random.default_rng(0)
    error = rng.standard_normal(400)
    errors = Errors(error, np.ones(400), np.zeros(400), np.full(400, 1 / 400), 1.0)
    scale = Scale(1.0, 0.0, 0.0)
    found = calibration.multiplier(errors, scale, 0.9)
    assert found == pytest.approx(np.quantile(np.abs(error), 0.9 * (1 + 1 / 400)), abs=0.02)
    inside = np.abs(rng.standard_normal(20000)) <= found
    assert inside.mean() == pytest.approx(0.9, abs=0.03)
    # The same errors counted four times over are no more evidence than once.
    fewer = dataclasses.replace(errors, repeats=4.0)
    assert fewer.independent == 25 and calibration.multiplier(fewer, scale, 0.9) > found


def test_the_scale_finds_noise_and_drift():
    """Student errors whose scale grows with distance: both numbers return within a quarter."""
    rng = np.random.default_rng(1)
    distance = rng.uniform(0, 3, 3000)
    error = np.hypot(0.01, 0.02 * distance) * rng.standard_t(4, 3000)
    scale = calibration.scale_of(Errors(error, distance, np.zeros(3000), np.full(3000, 1 / 3000), 1.0))
    assert scale.noise == pytest.approx(0.01, rel=0.25) and scale.drift == pytest.approx(0.02, rel=0.25)


def test_the_interval_score_is_least_at_the_right_width():
    """Gneiting and Raftery's score of Gaussian errors over half widths has its minimum at the 95% quantile for a 90% interval."""
    error = np.random.default_rng(2).standard_normal(100_000)
    widths = np.linspace(1.0, 2.5, 31)
    scores = [calibration.interval_score(error, np.full_like(error, width), 0.9).mean() for width in widths]
    assert widths[int(np.argmin(scores))] == pytest.approx(1.645, abs=0.06)


def test_validation_scores_every_form_on_runs_it_had_not_seen():
    """The mixture first, the forms by error, and intervals that earlier windows calibrated."""
    found = ensemble.fit(grid(LAW.loss, np.random.default_rng(3)))
    scores = validation.validate(found.rollouts, 0.9)
    assert scores[0].name == "mixture" and {score.name for score in scores[1:]} == {
        form.name for form in contenders.FORMS
    }
    assert [score.error for score in scores[1:]] == sorted(score.error for score in scores[1:])
    assert sum(score.weight for score in scores[1:]) == pytest.approx(1)
    assert scores[0].coverage > 0.7 and scores[0].error < 0.01
    assert next(score for score in scores if score.name == "kaplan_nd").error > 2 * scores[0].error


@pytest.fixture(scope="module")
def fitted():
    points = grid(LAW.loss, np.random.default_rng(4))
    n, d = np.exp(points.log_nd.T)
    runs = table.build(sources.from_frame(pd.DataFrame({"params": n, "tokens": d, "loss": np.exp(points.log_loss)})))
    law = parametric.fit(runs)
    return runs, law, noise.estimate(runs, law.details["residual"], 5), ensemble.fit(points_of(runs))


def made(fitted, factor: float, **options) -> forecast.Forecast:
    runs, law, run_noise, forecaster = fitted
    params, tokens = (float(runs.frame[name].max()) * factor**0.5 for name in ("params", "tokens"))
    arguments = {"params": params, "tokens": tokens, "flops": 6 * params * tokens, "rng": np.random.default_rng(0)}
    return forecast.forecast(law, runs, run_noise, options.get("ensemble", forecaster), **arguments)


def test_forecasts_widen_with_distance_and_say_how_far(fitted):
    found = [made(fitted, factor) for factor in (1.0, 10.0, 1e5)]
    widths = [np.log(item.interval[1] / item.interval[0]) for item in found]
    assert widths[0] <= widths[1] * (1 + 1e-9) and widths[1] * 1.3 < widths[2]
    assert [item.reach["flops"] for item in found] == pytest.approx([1, 10, 1e5])
    assert any("farther than a factor of ten" in flag for flag in found[2].flags)


def test_without_rollouts_the_law_forecasts_and_says_what_its_interval_lacks(fitted):
    found = made(fitted, 4.0, ensemble=None)
    assert found.value == found.by_law and any("trusts the form" in flag for flag in found.flags)
    assert set(found.parts) == {"parameters", "noise"}


def test_too_few_runs_for_rollouts_give_no_ensemble():
    points = grid(LAW.loss, np.random.default_rng(0), sizes=(1e4, 1e6, 4), tokens=(2e5, 2e7, 3))
    assert len(points) == 12 and ensemble.fit(points) is None


def test_an_outside_measurement_is_called_outside(fitted):
    item = made(fitted, 4.0)
    verdict = check.check(item.value * 1.2, "worse", item)
    assert not verdict.inside and verdict.sigma > 3 and "OUTSIDE" in verdict.in_words()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "widest"), [(LAW.loss, 3), (kaplan_loss, 3), (neither_form, 6)], ids=["chinchilla", "kaplan", "neither"]
)
def test_forecasts_cover_whatever_form_is_true(truth, widest):
    """The cheapest 70% of compute predicts the rest, in 6 sweeps of 80 runs at 0.3% noise: at least 80% inside a nominal 90%.

    Also where no candidate is the truth. The width is held against that of a Gaussian interval of the noise alone, for an interval that is as
    wide as it likes covers.
    """
    inside, widths = [], []
    for seed in range(6):
        points = grid(truth, np.random.default_rng(seed), sizes=(1e4, 1e6, 10), tokens=(2e5, 2e7, 8))
        seen = round(0.7 * len(points))
        found = ensemble.fit(Points(*(values[:seen] for values in (points.log_nd, points.log_flops, points.log_loss))))
        centre, half = found.predict(points.log_nd[seen:], points.log_flops[seen:], 0.9)
        inside.append(np.abs(points.log_loss[seen:] - centre) <= half)
        widths.append(np.median(2 * half))
    assert 0.8 <= np.mean(np.concatenate(inside)) <= 1.0
    assert np.median(widths) < widest * 3.29 * 0.003
