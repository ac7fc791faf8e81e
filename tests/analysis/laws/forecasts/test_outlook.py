"""The outlook's pieces: conformal ranks, stacking, kriging against closed forms, and coverage where no candidate is true."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.laws.errors import TableError
from analysis.laws.forecasts import candidates, conformal, discrepancy, held_out, outlook, published, rollouts, stacking
from analysis.laws.forms import chinchilla as chinchilla_law
from analysis.laws.tables import sources, table


def test_exchangeable_scores_are_covered_as_often_as_their_rank_says():
    """The next of 20 exchangeable scores lies below the quantile in at least 90% of trials and hardly more (Vovk et al. 2005)."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(4000, 20))
    below = np.mean([draw[-1] <= conformal.weighted_quantile(draw[:-1], np.ones(19), 0.9) for draw in values])
    assert 0.885 < below < 0.96
    uncorrected = np.mean([draw[-1] <= np.quantile(draw[:-1], 0.9, method="inverted_cdf") for draw in values])
    assert below > uncorrected - 0.005


def test_errors_that_grow_with_distance_stretch_the_far_intervals_only():
    distance_M = np.tile([0.1, 4.0], 40)
    made = conformal.Calibration(np.tile([0.8, 3.0], 40), distance_M, np.repeat(np.arange(8), 10), 0.9)
    near, far = made.factor(np.array([0.1, 4.0]))
    assert far > 2.0 * near
    nothing = conformal.Calibration(np.zeros(0), np.zeros(0), np.zeros(0, int), 0.9)
    assert nothing.factor(np.array([1.0])) == 1.0


def test_few_rollouts_stretch_less_than_many():
    """The same errors in one rollout and in twenty: one rollout is one observation of how wrong a fit can be."""
    factors = [
        conformal.Calibration(np.full(20, 3.0), np.ones(20), np.arange(20) % windows, 0.9).factor(np.array([1.0]))[0]
        for windows in (1, 20)
    ]
    assert 1.0 < factors[0] < 0.7 * factors[1] < 3.0


def test_stacking_finds_the_form_that_predicts_and_keeps_equal_weights_without_rollouts():
    rng = np.random.default_rng(1)
    y_M, window_M = rng.standard_normal(200), np.repeat(np.arange(10), 20)
    log_score = np.stack([stats.norm.logpdf(y_M, mean, 1.0) for mean in (0.0, 1.5, -1.5)])
    found = stacking.weights(log_score, window_M, prior=1.0)
    assert found[0] > 0.8 and found.sum() == pytest.approx(1.0)
    assert stacking.weights(log_score[:, :0], window_M[:0]) == pytest.approx(np.full(3, 1 / 3))
    assert stacking.weights(log_score[:, :20], window_M[:20], prior=1.0)[0] < found[0]


def test_four_rollouts_move_the_weights_of_forms_a_little():
    """One form predicts every run of four rollouts far better: it gains on the others, but none of these is put aside."""
    log_score, window_M = np.repeat([[0.0], [-5.0], [-5.0]], 80, axis=1), np.repeat(np.arange(4), 20)
    best, *others = stacking.weights(log_score, window_M)
    assert best == pytest.approx((4 + stacking.PRIOR / 3) / (4 + stacking.PRIOR), rel=0.05)
    assert min(others) > 0.2


def test_stacking_mixes_where_a_mixture_is_the_truth():
    """Observations from either of two forms: selection would take one, stacking takes both (Yao et al. 2018, section 3)."""
    rng = np.random.default_rng(2)
    y_M = np.where(rng.random(2000) < 0.7, -3.0, 3.0) + rng.standard_normal(2000)
    log_score = np.stack([stats.norm.logpdf(y_M, mean, 1.0) for mean in (-3.0, 3.0)])
    assert stacking.weights(log_score, np.arange(2000))[0] == pytest.approx(0.7, abs=0.04)


def test_a_predictive_of_one_component_has_the_quantiles_of_students_t():
    made = discrepancy.Predictive(np.ones(1), np.array([[2.0, -1.0]]), np.array([[0.5, 3.0]]), np.array([4.0]))
    assert made.quantile(0.95) == pytest.approx(stats.t.ppf(0.95, 4, loc=[2.0, -1.0], scale=[0.5, 3.0]), abs=1e-9)
    assert made.log_density(np.array([2.2, 0.0])) == pytest.approx(
        stats.t.logpdf([2.2, 0.0], 4, [2.0, -1.0], [0.5, 3.0])
    )


def test_kriging_is_the_generalised_least_squares_of_the_textbook():
    """Mean and variance against the normal equations of universal kriging written out (Rasmussen and Williams 2006, eq. 2.42)."""
    rng = np.random.default_rng(3)
    x, new = rng.uniform(0, 6, (12, 2)), rng.uniform(0, 8, (3, 2))
    basis, other = (np.column_stack([np.ones(len(item)), item]) for item in (x, new))
    y = np.sin(x[:, 0]) + 0.1 * rng.standard_normal(12)
    alone = [np.full(len(item), -1) for item in (x, new)]
    kernels = tuple(discrepancy._kernel(x, item, (2.0, 4.0)) for item in (x, new))
    seen, asked = discrepancy.Design(x, basis, alone[0]), discrepancy.Design(new, other, alone[1])
    (evidence,), (mean,), (scale,) = discrepancy._krige(
        seen, y, asked, (np.zeros(12), np.zeros(12), np.zeros(3)), kernels, np.array([[10.0], [0.1], [0.0]])
    )
    inverse = np.linalg.inv(10.0 * kernels[0] + np.eye(12))
    normal = np.linalg.inv(basis.T @ inverse @ basis)
    theta = normal @ basis.T @ inverse @ y
    left = y - basis @ theta
    cross = 10.0 * kernels[1]
    variance = left @ inverse @ left / 9
    gap = other - cross @ inverse @ basis
    spread = 11.0 - np.sum((cross @ inverse) * cross, axis=1) + np.sum((gap @ normal) * gap, axis=1)
    assert mean == pytest.approx(other @ theta + cross @ inverse @ left)
    assert scale == pytest.approx(np.sqrt(variance * spread))
    # Patterson and Thompson's restricted likelihood, up to a constant.
    determinants = np.linalg.slogdet(10.0 * kernels[0] + np.eye(12))[1] - np.linalg.slogdet(normal)[1]
    assert evidence == pytest.approx(-0.5 * (9 * np.log(variance) + determinants))


def test_interval_score_is_gneiting_and_rafterys():
    """Width plus 2/alpha per unit outside, worked by hand (Gneiting and Raftery 2007, eq. 43)."""
    found = rollouts.interval_score(np.array([0.0, 3.0, -1.5]), np.full(3, -1.0), np.full(3, 2.0), 0.9)
    assert found == pytest.approx([3.0, 3.0 + 20.0, 3.0 + 10.0])


# A ladder of IsoFLOP slices; compute spans three decades.
def sweep(loss, rng: np.random.Generator, noise: float, budgets: int = 10, sizes: int = 7) -> table.RunsTable:
    """Runs of a simulated sweep: sizes within a factor of eight of the middle of each budget."""
    flops = np.repeat(np.geomspace(1e17, 1e20, budgets), sizes)
    params = (
        np.tile(np.geomspace(1 / 8, 8, sizes), budgets)
        * np.sqrt(flops / 120)
        * np.exp(0.1 * rng.standard_normal(len(flops)))
    )
    tokens = flops / (6 * params)
    measured = loss(params, tokens) * np.exp(noise * rng.standard_normal(len(flops)))
    return table.build(
        sources.from_frame(pd.DataFrame({"params": params, "tokens": tokens, "flops": flops, "loss": measured}))
    )


def chinchilla(n, d):
    """Besiroglu et al.'s law."""
    return 1.82 + 482 / n**0.348 + 2085 / d**0.366


def kaplan(n, d):
    """Kaplan et al.'s, eq. 1.5."""
    return ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103


def crossed(n, d):
    """None of the candidates: the reducible terms meet in a product."""
    return chinchilla(n, d) + 3e4 / (n * d) ** 0.3


def broken(n, d):
    """None of the candidates: exponents that change midway."""
    return 1.9 + 400 / n**0.34 * (1 + (n / 3e8) ** 2) ** -0.05 + 2000 / d**0.36 * (1 + (d / 6e9) ** 2) ** -0.04


@pytest.fixture(scope="module")
def made() -> outlook.Outlook:
    return outlook.of(sweep(kaplan, np.random.default_rng(4), 0.003))


def test_a_wrong_form_is_down_weighted(made):
    """Losses from Kaplan's law: the other forms, which add a floor to sums of powers, predict rollouts worse."""
    weight = {form.name: value for form, value in zip(made.forms, made.weight_F, strict=True)}
    assert weight["kaplan_nd"] == max(weight.values()) > 1.05 * min(weight.values())


def test_a_forecast_is_the_same_in_whatever_company_it_is_asked_for(made):
    one, two = made.run(3e9, 6e10, 1.08e21), made.run(1e9, 1e11, 6e20)
    together = made.forecast(one.joined(two))
    assert made.forecast(two).high_Q == pytest.approx(together.high_Q[1:])
    assert np.exp(together.median_Q[0]) == pytest.approx(kaplan(3e9, 6e10), rel=0.03)
    assert together.high_Q[0] - together.low_Q[0] > 0
    assert "rollouts" in made.in_words(1.1)


def test_every_form_and_the_mixture_are_scored_by_distance(made):
    found = rollouts.scores(made)
    names = {score.form for score in found}
    assert names == {*(form.name for form in (*candidates.FORMS, *candidates.SPECIAL_CASES)), rollouts.MIXTURE}
    assert {score.weight for score in found if score.form == chinchilla_law.FORM.name} == {0.0}
    assert len({score.beyond for score in found}) == 3
    assert all(0 <= score.coverage <= 1 and score.width_percent > 0 for score in found)
    assert any(score.to_json()["beyond"][1] is None for score in found)
    assert {score.where for score in found} == {"1 to 2", "2 to 8", "over 8"}


def test_too_few_runs_for_rollouts_are_said():
    rng = np.random.default_rng(5)
    made = outlook.of(sweep(chinchilla, rng, 0.003, budgets=3, sizes=3))
    assert not made.rolled and "too few runs" in made.in_words(1.0)
    assert np.ptp(made.weight_F) == pytest.approx(0.0)


def test_checkpoints_of_one_run_tell_of_its_own_later_losses():
    """Runs that are each off by 2% as a whole: a later checkpoint of a seen run is forecast with its offset, a new run without."""
    rng = np.random.default_rng(6)
    x = np.column_stack(
        [np.repeat(np.log(np.geomspace(1e7, 1e9, 12)), 6), np.tile(np.log(np.geomspace(1e9, 3e10, 6)), 12)]
    )
    cluster = np.repeat(np.arange(12), 6)
    y = 1 - 0.02 * x @ np.ones(2) + 0.02 * rng.permutation(np.repeat([-1, 1], 6))[cluster]
    design = discrepancy.Design(x, np.column_stack([np.ones(72), x]), cluster)
    early, law, missed = np.tile(np.arange(6) < 4, 12), np.full(72, y.mean()), []
    for item in (design, dataclasses.replace(design, cluster_K=np.full(72, -1))):
        found = discrepancy.predict(item.rows(early), (y - law)[early], y[early], item.rows(~early), law[~early])
        missed.append(np.sqrt(np.mean((found.mean - y[~early]) ** 2)))
    assert missed[0] < 0.3 * missed[1]


def test_noise_that_is_alike_everywhere_is_not_taken_for_noise_that_grows_with_the_loss():
    """Runs over 0.35 of ln L with noise of 1% at every loss, and the right law: the 90% interval is 3.29% wide and more.

    Where noise must grow with the loss, the far runs' is read as far less at the best ones, and the interval is narrower than the noise alone.
    """
    rng, widths, found = np.random.default_rng(8), [], []
    for _ in range(20):
        x = np.column_stack([rng.uniform(0, 7, 40), rng.uniform(0, 7, 40)])
        noise = 0.01 * rng.standard_normal(41)
        law = 1 - 0.025 * x.sum(axis=1)
        design = discrepancy.Design(x, np.column_stack([np.ones(40), x]), np.full(40, -1))
        new = discrepancy.Design(np.full((1, 2), 7.5), np.array([[1.0, 7.5, 7.5]]), np.array([-1]))
        made = discrepancy.predict(design, noise[:40], law + noise[:40], new, np.array([0.625]))
        low, high = made.quantile(0.05)[0], made.quantile(0.95)[0]
        widths.append(high - low)
        found.append(low < 0.625 + noise[40] < high)
    assert 0.0329 < np.median(widths) < 1.4 * 0.0329
    assert np.mean(found) >= 0.75


def test_a_run_on_a_new_trunk_has_the_noise_between_trunks_in_addition():
    """Twelve trunks of five branches, 2% between trunks and 0.4% within: a new trunk is uncertain by 2%, a seen trunk's next branch by less."""
    rng = np.random.default_rng(9)
    cluster = np.repeat(np.arange(12), 5)
    x = np.column_stack([np.repeat(np.linspace(0, 5, 12), 5), np.tile(np.linspace(0, 3, 5), 12)])
    residual = 0.02 * rng.standard_normal(12)[cluster] + 0.004 * rng.standard_normal(60)
    law = 1 - 0.03 * x.sum(axis=1)
    basis = np.column_stack([np.ones(60), x])
    place = np.array([[5.0, 3.2], [5.0, 3.2]])
    asked = discrepancy.Design(place, np.column_stack([np.ones(2), place]), np.array([11, -1]))
    design = discrepancy.Design(x, basis, cluster)
    made = discrepancy.predict(design, residual, law + residual, asked, 1 - 0.03 * place.sum(axis=1))
    seen, new = made.quantile(0.95) - made.quantile(0.05)
    assert new > 3.29 * 0.02 * 0.7
    assert seen < 0.5 * new


def test_a_folder_without_tables_is_refused(tmp_path, capsys):
    with pytest.raises(TableError, match="holds no table"):
        published.read(tmp_path)
    assert held_out.main([f"--tables={tmp_path}"]) == 2
    assert "Remedy" in capsys.readouterr().err


@pytest.mark.slow
def test_forecasts_cover_whatever_the_truth_is():
    """Nominal 90% on sweeps from two candidates and two laws that are none; trusting one wrong form would miss most far runs."""
    rng, inside = np.random.default_rng(7), []
    for _ in range(2):
        for loss in (chinchilla, kaplan, crossed, broken):
            found = held_out.held_out(sweep(loss, rng, 0.004), loss.__name__)
            assert found.score.width_percent < 8
            inside.append(found.inside_Q)
    assert 0.82 < np.concatenate(inside).mean() < 0.99
