"""What the report says for and against the laws, and of the runs."""

import re

import pytest

from analysis.laws import study
from analysis.laws.tables import table
from analysis.report import html, inventory, terminal
from analysis.report.formatting import number, short


@pytest.fixture(scope="module")
def page(small_study) -> str:
    return html.render(small_study, [], html.Provenance(()))


def section(page: str, anchor: str) -> str:
    return re.search(rf'<section id="{anchor}">.*?</section>', page, flags=re.S).group(0)


def test_the_three_approaches_stand_in_one_table(small_study, page):
    text = section(page, "approaches")
    for item in small_study.approaches:
        assert f"<td>{item.title}</td>" in text
        if not item.is_main:
            continue
        assert f"N, approach {item.title[0]}" in text
        for values in (item.params, item.tokens):
            assert all(short(value.value) + "\n[" in text for value in values)
        assert number(item.exponents.low_flops, 3) in text


def test_the_verdict_says_size_and_standard_error(small_study, page):
    check, text = small_study.checks[0], section(page, "held-out")
    assert "w128 <code>held-out</code>" in text
    assert check.size_in_words[4:] in text and check.error_in_words[4:] in text


def test_runs_are_named_and_trunks_stand_apart(page, small_study):
    text = section(page, "runs")
    assert "<td>w96</td><td>s6-" in text
    excluded, trunks = text.split("11 trunks")
    assert "diverged-run" in excluded and "<td>s6</td>" not in excluded
    assert "<td>s6</td>" in trunks
    assert small_study.to_json()["runs"]["trunks"] == list(small_study.table.trunks["run_id"])


def test_runs_without_names_have_no_column_for_them(exact):
    assert "<th>run</th>" not in inventory._listed(exact.frame) and "<td>row 1</td>" in inventory._listed(exact.frame)


def test_rollouts_have_a_row_for_every_form_and_band(small_study, page):
    text = section(page, "residuals")
    assert {score.form for score in small_study.rollouts} >= {"weighed forms", "kaplan_nd", "skaling", "data_by_size"}
    assert all(f"<td>{score.form}</td>" in text and f">{score.where}</td>" in text for score in small_study.rollouts)
    assert len(small_study.to_json()["rollouts"]) == len(small_study.rollouts)


def test_laws_say_how_n_is_counted(page, ladder):
    assert "N: all parameters (total)" in page and "do not compare this exponent with his" in page
    own = study.fit_all(ladder.under(table.Conventions("non_embedding")), study.Options(bootstrap=0))
    text = html.render(own, [], html.Provenance(()))
    assert "N: non-embedding parameters" in text and "do not compare this exponent" not in text
    assert own.to_json()["laws"]["kaplan_n"]["conventions"]["parameters"] == "non_embedding"


def test_conventions_stand_side_by_side_with_how_far_they_move_the_exponent(small_study, page):
    text = section(page, "conventions")
    assert len(small_study.conventions) > 4 and small_study.conventions[0].moved is None
    for item in small_study.conventions:
        assert number(item.exponents.low_flops, 3) in text and f"<td>{item.flops}</td>" in text
    for item in small_study.conventions[1:]:
        difference = item.exponents.a.value - small_study.conventions[0].exponents.a.value
        assert item.moved.value == pytest.approx(difference) and number(item.moved.value, 3) in text


def test_the_summary_says_the_range_of_compute_and_the_cost(small_study, page):
    head = page.split("<nav>")[0]
    flops = small_study.table.frame["flops"]
    assert f"between {number(flops.min(), 3)} and {number(flops.max(), 3)} FLOPs" in head
    assert "runs together" in head


def test_the_terminal_compares_approaches_and_says_trunks_cost_and_doubts(small_study):
    text = "\n".join(terminal.describe(small_study))
    assert all(item.title in text for item in small_study.approaches)
    assert "11 trunks" in text and "runs together" in text
    assert small_study.checks[0].forecast.flags[0].split(",")[0] in text
