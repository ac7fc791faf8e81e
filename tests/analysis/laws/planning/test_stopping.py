"""Jobs that are judged while they run: the forecast from their curve, what decides them, and what does not."""

import dataclasses
import math

import numpy as np
import pytest

from analysis.laws.forms.chinchilla import FORM
from analysis.laws.forms.form import evaluate
from analysis.laws.planning import stopping
from analysis.laws.planning.decision import decision_at
from analysis.laws.planning.posterior import posterior

THETA = np.array([np.log(60.0), np.log(2000.0), np.log(1.9), 0.42, 0.58])
NOISE = 0.01


def law(params, tokens):
    return np.exp(evaluate(FORM, THETA[None], np.log(np.stack(np.broadcast_arrays(params, tokens), axis=1)))[0])


def finished_run(rng, params, horizon, noise=NOISE):
    """A curve that lies a tenth above the law until its learning rate decays in the last quarter, and one factor of noise on all of it."""
    tokens = np.linspace(horizon / 400, horizon, 400)
    above = 1 + 0.1 * np.clip((horizon - tokens) / (0.25 * horizon), 0, 1)
    luck = np.exp(noise * rng.standard_normal())
    loss = law(np.full(400, params), tokens) * above * luck * np.exp(0.002 * rng.standard_normal(400))
    job = stopping.Job(f"{params:.3g}", params, horizon, tokens, loss, tokens_per_second=1e4)
    return stopping.Finished(job, float(law(np.array([params]), np.array([horizon]))[0] * luck))


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    finished = [finished_run(rng, n, d) for n in (1e4, 3e4, 1e5, 3e5) for d in (5e5, 2e6, 8e6)]
    sizes = np.array([[run.job.params, run.job.horizon] for run in finished])
    found = posterior(*np.log(sizes).T, np.log([run.loss for run in finished]), rng, draws=400)
    return finished, found, decision_at(6 * 6e5 * 3e7)


def test_the_curve_foretells_the_final_loss_better_than_the_law(study):
    """Twenty runs at half of their horizon: off by less than two thirds of what the law alone is off by, and nine of ten inside."""
    finished, found, decision = study
    rng = np.random.default_rng(1)
    errors, inside = [], []
    for _ in range(20):
        run = finished_run(
            rng,
            float(np.exp(rng.uniform(np.log(1e4), np.log(3e5)))),
            float(np.exp(rng.uniform(np.log(5e5), np.log(8e6)))),
        )
        with_curve, alone = (stopping.forecast(run.job.until(0.5), some, found, decision) for some in (finished, []))
        errors.append([math.log(run.loss / seen.loss) for seen in (with_curve, alone)])
        inside.append(with_curve.interval()[0] < run.loss < with_curve.interval()[1])
        assert with_curve.deviation < alone.deviation
    with_curve, alone = np.sqrt(np.mean(np.square(errors), axis=0))
    assert with_curve < 2 / 3 * alone
    assert 0.8 <= np.mean(inside)


def test_a_job_whose_final_loss_is_known_is_decided(study):
    """Once its forecast is as good as another seed; half of its time is saved, at its own speed."""
    finished, found, decision = study
    run = finished_run(np.random.default_rng(2), 6e4, 4e6)
    verdict = stopping.decided(run.job.until(0.5), finished, found, decision, seed_noise=NOISE)
    assert verdict.decided and "known to" in verdict.reasons[0]
    assert verdict.remaining_seconds == pytest.approx(0.5 * 4e6 / 1e4, rel=0.02)
    assert (
        not stopping.decided(run.job.until(0.5), finished, found, decision, seed_noise=1e-4).reasons[:1]
        == verdict.reasons[:1]
    )


def test_without_finished_curves_nothing_is_known(study):
    """Three finished runs do not calibrate a curve, so a job with its curve is judged by the law alone and goes on."""
    finished, found, decision = study
    run = finished_run(np.random.default_rng(3), 6e4, 4e6)
    verdict = stopping.decided(run.job.until(0.5), finished[:3], found, decision, seed_noise=NOISE)
    assert not verdict.decided and math.isinf(verdict.forecast.curve_deviation)


def test_a_threshold_that_is_surely_missed_decides(study):
    """Far below and far above the forecast decide; at the forecast nothing is sure."""
    finished, found, decision = study
    run = finished_run(np.random.default_rng(4), 6e4, 4e6)
    job = run.job.until(0.5)
    final = stopping.forecast(job, finished, found, decision).loss

    def reasons(threshold):
        return " ".join(stopping.decided(job, finished, found, decision, 1e-6, threshold).reasons)

    assert "misses" in reasons(0.9 * final) and "beats" in reasons(1.1 * final)
    assert "probability" not in reasons(final)


def test_finishing_gains_less_the_more_the_curve_has_shown(study):
    """Of the regret at the target: all that the run is worth at first, next to nothing near its end."""
    finished, found, decision = study
    job = finished_run(np.random.default_rng(5), 1e6, 3e7).job
    unseen = stopping.decided(job.until(0.5), [], found, decision)
    seen = stopping.decided(job.until(0.98), finished, found, decision)
    assert unseen.gain > 0.02
    assert 0 <= seen.gain < 0.5 * unseen.gain


def test_a_branch_that_just_parted_says_nothing_yet(study):
    """A window that its curve does not cover gives no value, rather than that of other tokens."""
    finished, _, _ = study
    job = finished[0].job
    late = dataclasses.replace(job, tokens=job.tokens[300:], loss=job.loss[300:])
    assert math.isnan(late.log_loss_at(0.5)) and math.isnan(late.until(0.751).log_loss_at(0.751))
    assert late.log_loss_at(0.9) == pytest.approx(job.log_loss_at(0.9))
