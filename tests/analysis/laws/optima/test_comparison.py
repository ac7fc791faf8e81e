"""The approaches side by side, exponents with their range of compute, what a study cost, rollouts."""

import numpy as np
import pytest

from analysis.laws import parametric, study
from analysis.laws.intervals import bootstrap
from analysis.laws.optima import comparison, optimal
from analysis.laws.tables import cost, table
from tests.analysis import synthetic


def test_approaches_meet_at_the_same_budgets(exact):
    """Without noise and on one frontier: all three give the law's N and D, at budgets inside the data and beyond."""
    fitted = study.fit_all(exact, study.Options(bootstrap=0, budgets=(1e18, 1e21)))
    assert {"2", "3"} <= {item.title[0] for item in fitted.approaches if item.is_main}
    law = synthetic.KnownLaw()
    for item in (item for item in fitted.approaches if item.is_main):
        assert item.exponents.a.value == pytest.approx(law.beta / (law.alpha + law.beta), abs=0.02)
        for index, best in enumerate(fitted.compute_optimal):
            assert item.params[index].value == pytest.approx(best.params.value, rel=0.2)
            assert item.params[index].value * item.tokens[index].value == pytest.approx(best.flops / 6, rel=0.02)


def test_exponents_are_read_where_the_points_lie(small_study):
    by_title = {item.title[0]: item.exponents for item in small_study.approaches if item.is_main}
    flops = small_study.table.frame["flops"]
    assert (by_title["3"].low_flops, by_title["3"].high_flops) == (flops.min(), flops.max())
    assert flops.min() < by_title["1"].low_flops < by_title["1"].high_flops < flops.max()
    entry = small_study.to_json()["approaches"][0]
    assert entry["exponents"]["flops"] == [by_title["1"].low_flops, by_title["1"].high_flops]
    assert [item["flops"] for item in entry["optima"]] == [item.flops for item in small_study.compute_optimal]


def test_exponents_of_six_nd_are_the_closed_form(small_study):
    found = optimal.exponents(small_study.parametric, small_study.table)
    own = small_study.parametric.derived["a"]
    assert found.a.value == pytest.approx(own.value, rel=1e-9)
    assert found.a.interval == pytest.approx(own.interval, rel=1e-9)


def test_a_frontier_that_is_no_line_says_for_which_compute_its_slope_is(ladder):
    """FLOPs with attention and head: the slope over the data differs from the closed form, and its range is named."""
    other = ladder.under(table.Conventions("non_embedding", "6nd_head_attention"))
    fitted = study.fit_all(other, study.Options(bootstrap=0))
    law, found = fitted.parametric, optimal.exponents(fitted.parametric, other)
    low, high = (
        optimal.optimum(law.theta[None], np.log(c), optimal.cost_of(other))
        for c in other.frame["flops"].agg(["min", "max"])
    )
    span = np.ptp(other.log("flops"))
    assert found.a.value == pytest.approx((high.log_params[0] - low.log_params[0]) / span)
    assert abs(found.a.value - law.derived["a"].value) > 0.01
    assert any("for C = 6·N·D" in flag and f"{found.high_flops:.3g}" in flag for flag in law.flags)


def test_cost_adds_own_flops_and_those_of_runs_trained_alone(tmp_path):
    records = synthetic.ladder(3)
    for item in records:
        item["own_flops"] = {"6nd": item["flops"]["6nd"] * (0.25 if item["kind"] == "branch" else 1.0)}
    found = cost.cost_of_study(table.load(str(synthetic.write(tmp_path, records))))
    alone = sum(item["flops"]["6nd"] for item in records if item["kind"] != "trunk")
    own = sum(item["own_flops"]["6nd"] for item in records)
    assert (found.alone_flops, found.own_flops) == (pytest.approx(alone), pytest.approx(own))
    assert found.device_seconds == len(records)
    assert f"{alone / own:.3g} times as much" in found.in_words(
        "6nd"
    ) and f"{len(records)} s of device time" in found.in_words("6nd")


def test_a_cost_that_is_not_recorded_is_said_and_null(exact):
    found = cost.cost_of_study(exact)
    assert found.to_json()["own_flops"] is None and found.to_json()["device_seconds"] is None
    assert "is not recorded" in found.in_words("6nd") and "No training time" in found.in_words("6nd")


def test_a_held_out_size_is_compared_with_the_optimal_one(small_study):
    check = small_study.checks[0]
    best = optimal.allocate(small_study.parametric, small_study.table, (check.forecast.flops,))[0].params
    assert check.forecast.size_ratio.value == pytest.approx(check.forecast.params / best.value)
    low, high = check.forecast.size_ratio.interval
    assert low == pytest.approx(check.forecast.params / best.interval[1]) and low < high
    assert f"{check.forecast.size_ratio.value:.3g} [" in check.in_words()
    entry = small_study.to_json()["held_out"][0]
    assert entry["forecast"]["size_ratio"]["value"] == pytest.approx(check.forecast.size_ratio.value)
    assert entry["standard_error"] == pytest.approx(0.004) and entry["name"] == "w128"
    assert "standard error of 0.004 nats" in check.in_words() and "noise of a run" in check.in_words()


def test_approaches_that_were_not_fitted_are_left_out(ladder):
    law = parametric.fit(ladder, bootstrap.NO_DRAWS)
    found = comparison.compare({parametric.NAME: law}, ladder, optimal.allocate(law, ladder, (1e13,)))
    assert [item.name for item in found] == [parametric.NAME]
