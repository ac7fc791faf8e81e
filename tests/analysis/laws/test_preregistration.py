"""Forecasts that are sealed, and their grading."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from analysis.laws import preregistration
from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from analysis.laws.tables.reading import Reading


@dataclasses.dataclass(frozen=True)
class Made:
    """What sealing asks of a forecast."""

    value: float
    interval: tuple[float, float]
    level: float = 0.9
    flags: tuple[str, ...] = ()


@pytest.fixture
def sealed(exact):
    planned = preregistration.planned_runs(
        pd.DataFrame({"params": [1e9, 2e9], "tokens": [2e10, 4e10], "name": ["small", "large"]}), exact, "plan.csv"
    )
    made = [Made(2.5, (2.4, 2.6)), Made(2.2, (2.1, 2.3))]
    return preregistration.seal(exact, planned, made, {"form": "L"}, {"seed": 0}, now="2026-01-01T00:00:00+00:00")


def runs(**columns):
    defaults = {"run_id": ["a", "b"], "params": [1e9, 2.001e9], "tokens": [2e10, 4.01e10], "loss": [2.45, 2.4]}
    return pd.DataFrame(defaults | columns)


def test_planned_flops_follow_the_tables_cost_of_a_token(exact):
    planned = preregistration.planned_runs(pd.DataFrame({"params": [1e9], "tokens": [2e10]}), exact, "plan.csv")
    assert planned[0].flops == pytest.approx(6 * 1e9 * 2e10, rel=1e-9) and planned[0].name == "row 1"


def test_runs_are_graded_by_name_or_by_size_and_tokens(sealed):
    """One inside, one outside; the interval score is the width, and 2/(1-level) times what lies outside."""
    card = preregistration.score(sealed, runs(), "runs.csv")
    assert [grade.inside for grade in card.grades] == [True, False] and card.coverage == 0.5 and not card.missing
    assert card.grades[0].interval_score == pytest.approx(np.log(2.6 / 2.4))
    assert card.grades[1].interval_score == pytest.approx(np.log(2.3 / 2.1) + 20 * np.log(2.4 / 2.3))
    named = preregistration.score(sealed, runs(run_id=["large", "other"], params=[5e9, 6e9]), "runs.csv")
    assert named.grades[0].name == "large" and named.missing == ("small",)
    json.dumps(card.to_json(), allow_nan=False)


def test_a_file_that_was_touched_after_sealing_is_refused(sealed):
    """One digit of one interval is enough; the untouched file opens."""
    assert preregistration.opened(json.dumps(sealed, indent=1), "forecast.json") == sealed
    sealed["forecasts"][0]["interval"][1] = 2.7
    with pytest.raises(TableError, match="altered after it was sealed"):
        preregistration.opened(json.dumps(sealed), "forecast.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "laws"}'])
def test_what_is_no_sealed_forecast_is_refused(text):
    with pytest.raises(TableError, match=r"f\.json"):
        preregistration.opened(text, "f.json")


def test_a_run_that_the_fit_had_seen_is_refused(sealed):
    sealed["fitted"]["runs"].append("a")
    with pytest.raises(TableError, match="part of the fit"):
        preregistration.score(sealed, runs(), "runs.csv")


def test_losses_in_another_unit_than_the_sealed_ones_are_refused(sealed, exact):
    """Losses per byte lie far below any interval per token: a grade would call every forecast wrong. The message names both units."""
    with pytest.raises(TableError, match="nats per byte.*sealed in nats per token") as error:
        preregistration.score(sealed, runs(), "runs.csv", "nats per byte")
    assert "--loss_unit" in error.value.remedy
    per_byte = dataclasses.replace(exact, loss_unit="nats per byte")
    planned = preregistration.planned_runs(pd.DataFrame({"params": [1e9], "tokens": [2e10]}), exact, "plan.csv")
    document = preregistration.seal(per_byte, planned, [Made(0.6, (0.5, 0.7))], {}, {})
    assert preregistration.score(document, runs(loss=[0.65, 0.6]), "runs.csv", "nats per byte").coverage == 1.0
    with pytest.raises(TableError, match="nats per token.*sealed in nats per byte"):
        preregistration.score(document, runs(), "runs.csv")


def test_a_table_says_in_which_unit_its_losses_are():
    """What the verb hands to the grading: a loss per byte without the bytes of a token stays one, and nats are nats per token."""
    frame = pd.DataFrame({"params": [1e9, 2e9], "tokens": [1e10, 1e10], "loss": [0.9, 0.8]})
    assert table.loss_unit_of(sources.from_frame(frame)) == "nats per token"
    assert table.loss_unit_of(sources.from_frame(frame, reading=Reading(loss_unit="bits_per_byte"))) == "bits per byte"


def test_a_run_older_than_the_seal_is_flagged(sealed):
    card = preregistration.score(
        sealed, runs(created=["2025-12-31T23:00:00Z", "2026-01-02T00:00:00+00:00"]), "runs.csv"
    )
    assert "before the forecast was sealed" in card.grades[0].flags[0] and not card.grades[1].flags


def test_no_planned_run_made_yet_is_an_error_that_says_so(sealed):
    with pytest.raises(TableError, match="none of the 2 planned runs"):
        preregistration.score(sealed, runs(params=[7e9, 8e9]), "runs.csv")


def test_rows_of_a_plan_that_are_no_numbers_are_named(exact):
    with pytest.raises(TableError, match="row 2"):
        preregistration.planned_runs(pd.DataFrame({"params": [1e9, "big"], "tokens": [1e10, 1e10]}), exact, "plan.csv")
    with pytest.raises(TableError, match="lacks the column tokens"):
        preregistration.planned_runs(pd.DataFrame({"params": [1e9]}), exact, "plan.csv")


def test_the_fingerprint_knows_the_runs_and_not_their_order(exact):
    frame = exact.frame
    assert preregistration.fingerprint(exact) == preregistration.fingerprint(
        dataclasses.replace(exact, frame=frame.sample(frac=1, random_state=0))
    )
    changed = frame.assign(loss=frame["loss"].where(frame.index != 3, frame["loss"] * (1 + 1e-12)))
    assert preregistration.fingerprint(exact) != preregistration.fingerprint(dataclasses.replace(exact, frame=changed))


def test_usable_runs_need_no_six_of_them():
    """Grading reads two runs as well as fifty; a fit refuses so few."""
    raw = sources.from_frame(pd.DataFrame({"params": [1e9, 2e9], "tokens": [1e10, 1e10], "loss": [2.5, 2.4]}))
    assert len(table.usable(raw, table.Conventions())) == 2
    with pytest.raises(TableError):
        table.build(raw)
