"""Run directories of alignment become a table; what cannot be used is named with its file and line."""

import json

import numpy as np
import pytest

from analysis.alignment import measurements
from analysis.laws.errors import TableError
from tests.analysis import synthetic
from tests.analysis.alignment import runs


def test_rows_carry_their_run_and_are_measured_from_its_own_beginning(tmp_path):
    runs.write(
        tmp_path,
        "dpo sigmoid",
        {"beta": 0.1, "label_smoothing": 0},
        3,
        [runs.row(0, 0.0, 0.4), runs.row(10, 4.0, 1.0, proxy=2.0)],
    )
    table = measurements.read([str(tmp_path)])
    last = table.frame.iloc[-1]
    assert (last["method"], last["setting"], last["seed"], last["params"]) == (
        "dpo sigmoid",
        "beta=0.1, label_smoothing=0",
        3,
        100_000,
    )
    assert last["distance"] == 2.0 and last["gain"] == pytest.approx(0.6) and last["proxy_gain"] == pytest.approx(1.6)
    assert table.runs == 1 and table.excluded.empty and not table.flags


def test_an_exact_kl_takes_the_place_of_the_sampled_one(tmp_path):
    runs.write(tmp_path, "ppo", {}, 0, [runs.row(0, 0.0, 0.4), runs.row(10, 4.4, 1.0, kl_exact=4.0)])
    last = measurements.read([str(tmp_path)]).frame.iloc[-1]
    assert last["kl"] == 4.0 and last["kl_error"] == 0.0 and last["kl_from"] == "exact"


def test_a_run_without_a_beginning_is_given_that_of_the_others(tmp_path):
    runs.write(tmp_path, "ppo", {}, 0, [runs.row(0, 0.0, 0.4), runs.row(10, 4.0, 1.0)])
    runs.write(tmp_path, "ppo", {}, 1, [runs.row(10, 4.0, 1.2)])
    table = measurements.read([str(tmp_path)])
    assert table.frame.iloc[-1]["gain"] == pytest.approx(0.8) and table.flags[0].startswith("1 runs did not measure")


def test_pretraining_is_passed_over_and_unmeasured_runs_are_listed(tmp_path):
    synthetic.write(tmp_path, synthetic.ladder(0)[:3])
    runs.write(tmp_path, "ppo", {}, 0, [runs.row(0, 0.0, 0.4), runs.row(10, -0.01, 0.5)])
    runs.write(tmp_path, "ppo", {}, 1, [runs.row(0, 0.0, 0.4)], status="diverged")
    (runs.write(tmp_path, "reward", {}, 0, [], kind="reward") / "measurements.jsonl").unlink()
    table = measurements.read([str(tmp_path)])
    assert table.runs == 1 and table.frame["distance"].tolist() == [0.0, 0.0]
    assert sorted(table.excluded["reason"]) == [
        "its status is diverged",
        "no measurements.jsonl: no policy was measured",
    ]
    assert any("below zero" in flag for flag in table.flags)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: not JSON"),
        (json.dumps({"step": 1, "kl": 0.1}), "line 2: gold is missing"),
        (json.dumps({"step": 1, "kl": "much", "gold": 0.1}), "line 2: kl is 'much'"),
        ("[1]", "line 2: not a JSON object"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, line, message):
    directory = runs.write(tmp_path, "ppo", {}, 0, [runs.row(0, 0.0, 0.4)])
    with (directory / "measurements.jsonl").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(TableError, match=message):
        measurements.read([str(tmp_path)])


def test_what_holds_no_measurement_is_refused(tmp_path):
    with pytest.raises(TableError, match="not a directory"):
        measurements.read([str(tmp_path / "nowhere")])
    with pytest.raises(TableError, match="no run of alignment"):
        measurements.read([str(tmp_path)])
    runs.write(tmp_path / "a", "ppo", {}, 0, [runs.row(0, 0.0, 0.4)], run_id="same")
    runs.write(tmp_path / "b", "ppo", {}, 0, [runs.row(0, 0.0, 0.4)], run_id="same")
    with pytest.raises(TableError, match="'same' is recorded in"):
        measurements.read([str(tmp_path / "a"), str(tmp_path / "b")])
    runs.write(tmp_path / "c", "ppo", {}, 0, [runs.row(5, 1.0, 0.4)])
    with pytest.raises(TableError, match="measured its initial policy"):
        measurements.read([str(tmp_path / "c")])


def test_sizes_unknown_to_records_are_no_failure(tmp_path):
    runs.write(tmp_path, "ppo", {}, 0, [runs.row(0, 0.0, 0.4), runs.row(1, 1.0, 0.5)], parameters=None)
    assert np.isnan(measurements.read([str(tmp_path)]).frame["params"]).all()
