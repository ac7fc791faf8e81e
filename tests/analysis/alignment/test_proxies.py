"""The gold-reward laboratory: a law for each proxy, and the axes that move what a proxy is worth."""

import dataclasses
import itertools
import json
import pathlib

import numpy as np
import pytest
from scipy import stats

from analysis.alignment import figures, fitted_laws, proxies, proxy_trends, study, terminal
from analysis.alignment.measurements import read
from analysis.alignment.proxies import AXES, ProxyLaw
from analysis.alignment.study import Options
from analysis.laws.errors import TableError
from analysis.laws.forms.over_optimisation import best_of_n_kl
from analysis.laws.result import NotFitted
from tests.analysis.alignment import runs

# More comparisons: a larger alpha, as Gao et al. 2022 found (figure 3).
ALPHA = {256: 0.4, 512: 0.55, 1024: 0.7, 4096: 1.1}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> study.AlignmentStudy:
    root, rng = tmp_path_factory.mktemp("laboratory"), np.random.default_rng(3)
    for params, (comparisons, alpha) in itertools.product((50_000, 200_000), ALPHA.items()):
        proxy = {
            "params": params, "comparisons": comparisons, "label_noise": 0.2, "accuracy": 0.5 + alpha / 4, "members": 1, "combine": "mean",
        }  # fmt: skip
        for seed in range(3):
            rows = runs.curve(alpha, 0.3, 30.0, rng, noise=0.01)
            name = f"ppo-{params}-{comparisons}-{seed}"
            runs.write(root, "ppo", {"beta": 0.1}, seed, rows, kind="ppo", proxy=proxy, run_id=name)
    return study.study(read([str(root)]), Options(draws=50))


def test_every_proxy_has_its_own_law_and_the_planted_coefficient_is_inside(found):
    assert [(law.axes["proxy_params"], law.axes["proxy_comparisons"]) for law in found.proxies] == [
        (params, comparisons) for params in (50_000, 200_000) for comparisons in ALPHA
    ]
    for law in found.proxies:
        low, high = law.law.parameters["alpha"].interval
        assert low - 0.05 < ALPHA[law.axes["proxy_comparisons"]] < high + 0.05
        assert law.runs == 3 and law.check.error < 0.1
    # Together they would be eight curves in one law, and their frontier is that of no proxy.
    assert found.panels[0].laws == []
    assert any("a mean over 8 proxies" in flag for flag in found.panels[0].frontiers[0].flags)


def test_the_axis_that_matters_is_found_and_the_one_that_does_not_is_not_called_one(found):
    """Comparisons and accuracy move alpha and the best gain and not beta; two sizes are too few to speak of a trend."""
    verdicts = {(trend.axis, trend.quantity): trend.verdict for trend in found.proxy_trends}
    assert verdicts == {
        (axis, quantity): "rises" if quantity != "beta" else verdicts[axis, "beta"]
        for axis in ("proxy_comparisons", "proxy_accuracy")
        for quantity in proxy_trends.QUANTITIES
    }
    assert verdicts["proxy_comparisons", "beta"].startswith("no trend")


def law_of(response: float, accuracy: float = np.nan, **axes: float) -> ProxyLaw:
    values = {axis: axes.get(axis.removeprefix("proxy_"), 1.0) for axis in AXES}
    nothing = NotFitted("none", "", "", "not fitted")
    return ProxyLaw("gold", 1.0, "ppo", values, accuracy, 1, response, 1.0, 0.0, 1.0, 0.0, nothing, None, None)


def trend_of(laws, axis) -> proxy_trends.Trend:
    found = proxy_trends.trends(laws, np.random.default_rng(0))
    return next(trend for trend in found if (trend.axis, trend.quantity) == (f"proxy_{axis}", "best_gain"))


def test_a_single_stratum_has_kendalls_own_tau_and_exact_p():
    """Without other axes it is Kendall's test, whose exact distribution scipy lists too."""
    rng = np.random.default_rng(5)
    gains = rng.standard_normal(6)
    trend = trend_of([law_of(gain, params=2.0**index) for index, gain in enumerate(gains)], "params")
    expected = stats.kendalltau(np.arange(6), gains, method="exact")
    assert trend.correlation == pytest.approx(expected.statistic) and trend.p_value == pytest.approx(expected.pvalue)
    assert trend.least_p == pytest.approx(2 / 720) and trend.strata == 1
    assert trend.slope == pytest.approx(np.polyfit(np.arange(6), gains, 1)[0])


def test_another_axis_that_moves_the_gain_more_does_not_hide_or_make_a_trend():
    """Gains rise with size at each number of comparisons; more comparisons, measured at the smallest size alone, lower them by far more."""
    laws = [
        law_of(0.1 * size - level, params=2.0**size, comparisons=10.0**level) for level in range(3) for size in range(3)
    ]
    together = stats.kendalltau(np.tile(range(3), 3), [law.best_gain for law in laws]).statistic
    trend = trend_of(laws, "params")
    assert trend.correlation == pytest.approx(1.0) and together < 0.5 and trend.strata == 3
    assert trend.slope == pytest.approx(0.1) and trend.p_value == pytest.approx(2 / 6**3)
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(300):
        noise = rng.standard_normal(9)
        null = [
            law_of(noise[3 * level + size] + 9 * level, params=2.0**size, comparisons=10.0**level)
            for level in range(3)
            for size in range(3)
        ]
        p_values.append(trend_of(null, "params").p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.08


def test_three_values_in_one_stratum_are_said_to_be_too_few():
    """Even in perfect order their p is 1/3, so silence says nothing; such a trend does not cost the others anything either."""
    trend = trend_of([law_of(size, label_noise=0.1 * size) for size in range(3)], "label_noise")
    assert (trend.least_p, trend.verdict) == (pytest.approx(1 / 3), "too few proxies to tell") and np.isnan(
        trend.adjusted
    )


def test_one_proxy_is_no_laboratory(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(2):
        runs.write(
            tmp_path, "ppo", {}, seed, runs.curve(1.0, 0.3, 20.0, rng), kind="ppo", proxy={"params": 1, "members": 1}
        )
    frame = read([str(tmp_path)])
    assert not proxies.several(frame.frame) and study.study(frame, Options(draws=20)).proxies == []


SIZES = (1, 2, 4, 8, 16, 32, 64)


def by_prompt(rng, prompts: int = 64, alpha: float = 0.5, beta: float = 0.1, spread: float = 0.4) -> np.ndarray:
    """Curves that are a law with other coefficients at each prompt: gold scores [P, S]."""
    d_S = np.sqrt(best_of_n_kl(np.array(SIZES)))
    each_Px2 = np.array([alpha, beta]) + spread * rng.standard_normal((prompts, 2))
    return 0.3 + each_Px2[:, :1] * d_S - each_Px2[:, 1:] * d_S**2


def write_best_of_n(root, gold_PxS) -> pathlib.Path:
    kl_S = best_of_n_kl(np.array(SIZES))
    rows = [
        runs.row(0, float(kl), float(gold), n=n) for n, kl, gold in zip(SIZES, kl_S, gold_PxS.mean(axis=0), strict=True)
    ]
    directory = runs.write(root, "best_of_n", {}, 0, rows, kind="best_of_n")
    content = {
        "prompts": [str(index) for index in range(len(gold_PxS))],
        "sizes": list(SIZES),
        "gold": gold_PxS.tolist(),
    }
    (directory / "by_prompt.json").write_text(json.dumps(content))
    return directory


def test_a_best_of_n_is_as_uncertain_as_its_prompts_are_different(tmp_path):
    """All n choose among the same samples, so the points of a curve tell little of its error: of 60 curves the intervals over prompts hold the planted alpha in
    about 90%, those over points, which lie on a law exactly, in next to none."""
    rng = np.random.default_rng(2)
    inside, inside_of_points = 0, 0
    for index in range(60):
        directory = write_best_of_n(tmp_path / str(index), by_prompt(rng))
        rows = read([str(directory.parent)]).frame
        law = fitted_laws.fit(rows, 0, 0.9, rng).law
        low, high = law.parameters["alpha"].interval
        inside += low <= 0.5 <= high
        (directory / "by_prompt.json").unlink()
        low, high = fitted_laws.fit(rows, 0, 0.9, rng).law.parameters["alpha"].interval
        inside_of_points += low <= 0.5 <= high
    assert 47 <= inside <= 60 and inside_of_points < 12
    assert any("over its 64 prompts" in flag for flag in law.flags)


def test_the_held_out_part_of_a_best_of_n_is_its_mean_over_prompts(tmp_path):
    """A law that holds is foretold, however different the prompts are; one that breaks off beyond the cut is not."""
    gold_PxS = by_prompt(np.random.default_rng(4))
    write_best_of_n(tmp_path / "law", gold_PxS)
    check = study.study(read([str(tmp_path / "law")]), Options(draws=20)).panels[0].laws[0].check
    assert check.error < 1e-9 and len(check.predicted_K) == 3
    broken_PxS = (
        gold_PxS
        + np.where(np.array(SIZES) > 8, -0.5, 0.0)
        + 0.05 * np.random.default_rng(5).standard_normal(gold_PxS.shape)
    )
    write_best_of_n(tmp_path / "broken", broken_PxS)
    found = study.study(read([str(tmp_path / "broken")]), Options(draws=20))
    check = found.panels[0].laws[0].check
    assert check.covered == 0 and check.bias == pytest.approx(-0.5, abs=0.05) and found.objections


@pytest.mark.parametrize(("alpha", "beta", "turned"), [(0.5, 0.3, 1), (-0.2, -0.4, 0), (0.1, -0.4, 0)])
def test_a_law_that_falls_and_then_rises_is_not_counted_as_turning(tmp_path, alpha, beta, turned):
    """Where beta is below 0 the slope vanishes at a trough, with an interval as narrow as that of a peak."""
    directory = write_best_of_n(tmp_path, by_prompt(np.random.default_rng(4), 400, alpha, beta, spread=0.1))
    rows = read([str(directory.parent)]).frame
    fitted = fitted_laws.fit(rows, 0, 0.9, np.random.default_rng(0))
    law = dataclasses.replace(law_of(0.1), law=fitted.law, final_kl=float(rows["kl"].max()))
    assert proxies.in_words([law]).startswith(f"{turned} of 1 laws turn")


def test_curves_of_another_run_are_refused_by_name(tmp_path):
    directory = write_best_of_n(tmp_path, by_prompt(np.random.default_rng(4)))
    (directory / "by_prompt.json").write_text(json.dumps({"sizes": [1, 2, 4], "gold": [[0.1, 0.2, 0.3]]}))
    with pytest.raises(TableError, match="by_prompt.json does not hold the curves of its run"):
        study.study(read([str(tmp_path)]), Options(draws=20))


def test_the_terminal_names_the_peak_of_every_law_and_the_verdict_of_every_trend(found):
    lines = "\n".join(terminal.describe(found))
    assert lines.count("ppo             50k") == 4 and "alpha against proxy comparisons" in lines and "rises" in lines
    peak = found.proxies[0].law.derived["peak_distance"].value ** 2
    assert f"{peak:.2g}"[:2] in lines


def test_what_climbed_several_proxies_is_told_apart_and_not_compared(found, tmp_path):
    """The mean over good and bad proxies is no method that could be better than another; each run is named by its proxy."""
    assert found.panels[0].comparisons == [] and len(found.panels[0].frontiers) == 1
    labels = found.measurements.frame["label"].unique()
    assert len(labels) == 24 and "ppo (50k, 4096 pairs, noise 0.2) seed 2" in labels


def test_the_figures_have_a_panel_for_every_coefficient_and_axis_that_varies(found):
    """Two coefficients against size and against comparisons; label noise and members are the same everywhere."""
    drawn = {figure.name: figure for figure in figures.draw_all(found)}
    panels = drawn["proxy_coefficients"].svg
    assert [panels.count(f">{axis}</text>") for axis in ("params", "comparisons", "label noise", "members")] == [
        2,
        2,
        0,
        0,
    ]
    assert ">accuracy</text>" in drawn["proxy_curves"].svg


def course(lengths) -> list[dict]:
    return [runs.row(step, 0.5 * step, 0.5 + 0.05 * step, length=length) for step, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("on_gold", "words"), [(44.0, "so here it tells nothing"), (20.0, "0 of 3 runs on the gold reward itself")]
)
def test_an_alarm_that_healthy_runs_raise_too_is_said_to_tell_nothing(tmp_path, on_gold, words):
    """Runs on a proxy double their answers; whether that means anything is seen at the runs on the gold reward, which cannot over-optimise."""
    for seed in range(3):
        runs.write(tmp_path, "ppo", {}, seed, course([20.0] * 6 + [44.0] * 5), kind="ppo")
        runs.write(tmp_path, "ppo on gold", {}, seed, course([20.0] * 6 + [on_gold] * 5), kind="ppo")
    made = study.study(read([str(tmp_path)]), Options(draws=20))
    (drift,) = [rate for rate in made.alarm_rates if rate.alarm == "length_drift"]
    assert drift.in_words.startswith("length drift: raised by 3 of 3 runs") and words in drift.in_words
    assert ("tells nothing" in drift.in_words) == (on_gold > 20)
    assert words in " ".join(" ".join(terminal.describe(made)).split())


def test_runs_too_short_for_any_alarm_are_not_said_to_have_raised_none(tmp_path):
    for seed in range(2):
        runs.write(tmp_path, "ppo", {}, seed, course([20.0] * 3 + [44.0] * 3), kind="ppo")
    made = study.study(read([str(tmp_path)]), Options(draws=20))
    assert made.alarm_rates == []
    assert "they need 7 measurements of a run, and no run has so many" in " ".join(terminal.describe(made))
