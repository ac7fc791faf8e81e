"""E of a law against a known entropy, on tables whose law is put in."""

import dataclasses
import json

import numpy as np
import pytest

from analysis.laws import known_truth, parametric
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Estimate
from analysis.laws.tables import table
from tests.analysis import synthetic


def with_interval(law, low, high):
    estimate = Estimate((low + high) / 2, (low, high), 0.9, "set by the test")
    return dataclasses.replace(law, parameters={**law.parameters, "E": estimate})


@pytest.fixture(scope="module")
def law(exact):
    return parametric.fit(exact)


def test_the_truth_that_was_put_in_is_found_in_the_interval_of_a_noisy_table(ladder):
    """A ladder with E = 1.9 and noise of 0.5%, its runs drawn again 200 times: its own truth is inside, one that is half a nat away is not."""
    runs = len(ladder.frame)
    weights = np.random.default_rng(0).multinomial(runs, np.full(runs, 1 / runs), 200).astype(float)
    fitted = parametric.fit(ladder, bootstrap.Draws(np.zeros((200, runs)), weights))
    right = known_truth.check(fitted, 1.9, 0.004)
    assert right.inside and right.informative and abs(right.distance) < 1.5
    wrong = known_truth.check(fitted, 1.4, 0.004)
    assert wrong.inside is False and wrong.distance < -1
    assert "OUTSIDE" in wrong.in_words() and "below E" in wrong.in_words()


def test_distances_are_in_half_widths_and_the_error_widens_the_interval(law):
    fitted = with_interval(law, 1.8, 2.0)
    assert known_truth.check(fitted, 2.05, 0.0).distance == pytest.approx(1.5)
    assert known_truth.check(fitted, 2.05, 0.0).inside is False
    assert known_truth.check(fitted, 2.05, 0.06).inside is True
    assert known_truth.check(fitted, 1.75, 0.06).distance == pytest.approx(-1.5)


def test_an_interval_that_is_not_centred_is_measured_on_the_side_of_the_truth(law):
    """1 is its end on either side, so whoever is outside is further than 1 away."""
    estimate = Estimate(1.9, (1.5, 2.0), 0.9, "set by the test")
    fitted = dataclasses.replace(law, parameters={**law.parameters, "E": estimate})
    assert known_truth.check(fitted, 2.0, 0.0).distance == pytest.approx(1.0)
    assert known_truth.check(fitted, 1.5, 0.0).distance == pytest.approx(-1.0)
    assert known_truth.check(fitted, 2.05, 0.0).distance > 1 and not known_truth.check(fitted, 2.05, 0.0).inside


def test_an_interval_that_could_not_have_missed_says_little(law):
    wide = known_truth.check(with_interval(law, 0.1, 2.0), 1.9, 0.0)
    assert wide.inside and not wide.informative and "says little" in wide.in_words()


def test_without_an_interval_nothing_is_claimed(law):
    found = known_truth.check(law, 1.9, 0.0)
    assert found.inside is None and found.distance is None and not found.informative
    assert "no interval (no bootstrap)" in found.in_words()


def test_its_json_has_no_nan_and_survives(law):
    unbounded = known_truth.check(with_interval(law, 1.8, float("inf")), 1.9, 0.0)
    values = json.loads(json.dumps(unbounded.to_json(), allow_nan=False))
    assert values["inside"] is True and values["half_widths"] is None and values["E"]["interval"] is None
    plain = known_truth.check(with_interval(law, 1.8, 2.0), 1.95, 0.01).to_json()
    assert plain["half_widths"] == pytest.approx(0.5) and plain["entropy_nats_per_token"] == 1.95


@pytest.mark.parametrize(("entropy", "error"), [(float("nan"), 0.0), (1.0, -1.0), (-1.0, 0.0), (1.0, float("inf"))])
def test_a_truth_that_is_no_number_is_refused(law, entropy, error):
    with pytest.raises(ValueError, match="both must be finite"):
        known_truth.check(law, entropy, error)


def test_a_law_without_a_floor_is_refused(law):
    without = dataclasses.replace(law, parameters={"alpha": law.parameters["alpha"]})
    with pytest.raises(ValueError, match="has no irreducible loss E; its parameters are alpha"):
        known_truth.check(without, 1.0, 0.0)


def test_records_that_state_an_entropy_give_the_raw_table_its_columns(tmp_path):
    """One of two records states it; of texts that have none there is no column."""
    records = synthetic.ladder(0)
    records[1]["losses"]["validation"] |= {"entropy_nats_per_token": 1.9, "entropy_error": 1e-4}
    records[2]["losses"]["validation"] |= {"entropy_nats_per_token": None, "entropy_error": None}
    raw = table.load(str(synthetic.write(tmp_path / "stated", records))).raw.set_index("run_id")
    assert raw.loc[records[1]["run_id"], ["entropy_validation", "entropy_error_validation"]].tolist() == [1.9, 1e-4]
    assert raw["entropy_validation"].notna().sum() == 1
    plain = table.load(str(synthetic.write(tmp_path / "plain", synthetic.ladder(0)))).raw
    assert not [column for column in plain.columns if column.startswith("entropy")]
