"""What enters a fit, what does not and why, and how bad tables are refused."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.laws import study
from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from tests.analysis import synthetic
from tests.analysis.conftest import noise_free_frame


def test_records_are_sorted_into_fit_held_out_and_excluded(ladder):
    assert len(ladder) == 39
    assert list(ladder.held_out["run_id"]) == ["held-out"]
    reasons = dict(zip(ladder.excluded["run_id"], ladder.excluded["reason"], strict=True))
    assert "diverged" in reasons["diverged-run"] and "step 40" in reasons["diverged-run"]
    assert len(ladder.trunks) == 11 and not set(ladder.trunks["run_id"]) & set(reasons), "a trunk is no run that failed"
    assert ladder.frame["loss"].dtype == np.float64


@pytest.mark.slow
def test_a_diverged_run_never_enters_even_with_a_finite_loss(tmp_path):
    """Its last good loss is a number; its status alone must keep it out of every law."""
    bad = synthetic.record("bad", 64, 4, 1e6, 2.9, kind="pretrain", status="diverged")
    fitted = study.fit_all(
        table.load(str(synthetic.write(tmp_path, [*synthetic.ladder(1), bad]))), study.Options(bootstrap=0)
    )
    assert all("bad" not in law.run_ids for law in fitted.laws.values() if hasattr(law, "run_ids"))
    assert {"run_id": "bad", "reason": "diverged"} in fitted.to_json()["runs"]["excluded"]


def test_branches_of_a_trunk_are_one_cluster(ladder):
    assert ladder.frame.loc[ladder.frame["cluster"] == "s0", "run_id"].str.startswith("s0-").all()
    assert ladder.frame["cluster"].nunique() == 11


def test_conventions_change_parameters_and_flops_together(ladder):
    other = ladder.under(table.Conventions("non_embedding"))
    assert other.conventions.flops == "kaplan_6nd_non_embedding"
    assert (other.frame["params"] < ladder.frame["params"]).all()
    np.testing.assert_allclose(other.frame["flops"], 6 * other.frame["params"] * other.frame["tokens"])
    assert "xla_measured" not in ladder.flop_conventions()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_files_of_every_kind_give_the_same_table(tmp_path, suffix):
    frame, path = noise_free_frame(), tmp_path / f"runs.{suffix}"
    write = {
        "csv": frame.to_csv,
        "jsonl": lambda p: frame.to_json(p, orient="records", lines=True, double_precision=15),
        "parquet": frame.to_parquet,
    }
    write[suffix](path)
    np.testing.assert_allclose(table.load(str(path)).log("loss"), np.log(frame["loss"]), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="tokens"), "lacks the column tokens"),
        (
            lambda frame: frame.assign(loss=frame["loss"].where(frame.index != 4)),
            r"loss is not a positive finite number in row 5",
        ),
        (lambda frame: frame.assign(params=frame["params"].where(frame.index != 1, -1.0)), r"params .* row 2 \(-1"),
        (lambda frame: frame.assign(run_id=["x", "x", *map(str, range(len(frame) - 2))]), "'x' stands in rows 1, 2"),
        (lambda frame: frame.head(4), "4 usable runs"),
        (lambda frame: frame.assign(params=1e6), "1 distinct values of params"),
        (lambda frame: frame.head(0), "no rows"),
    ],
)
def test_bad_tables_are_refused_with_the_rows(change, message):
    with pytest.raises(TableError, match=message):
        table.build(sources.from_frame(change(noise_free_frame())))


def test_unreadable_records_name_the_file_and_field(tmp_path):
    records = synthetic.ladder(0)
    del records[3]["parameters"]
    synthetic.write(tmp_path, records)
    with pytest.raises(TableError, match=r"record\.json lacks the field 'parameters'"):
        table.load(str(tmp_path))
    (tmp_path / "synthetic" / records[3]["run_id"] / "record.json").write_text("{")
    with pytest.raises(TableError, match="is not JSON"):
        table.load(str(tmp_path))


def test_unknown_names_list_what_there_is(ladder_directory):
    for conventions, message in (
        (table.Conventions(flops="7nd"), "6nd_head_attention"),
        (table.Conventions(domain="books"), "validation"),
    ):
        with pytest.raises(TableError, match=message):
            table.load(str(ladder_directory), conventions)
    with pytest.raises(TableError, match="no run is called nobody"):
        table.load(str(ladder_directory), held_out_ids=("nobody",))


def test_two_domains_are_kept_apart(tmp_path):
    records = synthetic.ladder(0)
    for item in records:
        if item["losses"]:
            item["losses"]["time_shift"] = {
                **item["losses"]["validation"],
                "nats_per_token": item["losses"]["validation"]["nats_per_token"] + 1,
            }
    shifted = table.load(
        str(synthetic.write(tmp_path, json.loads(json.dumps(records)))), table.Conventions(domain="time_shift")
    )
    plain = shifted.under(table.Conventions())
    np.testing.assert_allclose(shifted.frame["loss"], plain.frame["loss"] + 1)


def test_seeds_and_mixed_families_are_said():
    frame = noise_free_frame()
    frame["family"] = pd.Series(["gpt", "llama"] * (len(frame) // 2))
    assert "gpt, llama" in table.build(sources.from_frame(frame)).flags[0]


def test_the_table_carries_how_a_run_was_trained_and_what_it_cost(tmp_path):
    records = synthetic.ladder(0)
    for item in records:
        item |= {"schedule": {"name": "cosine", "peak": 0.004}, "own_flops": {"6nd": 5.0, "xla_measured": None}}
    cosine = table.load(str(synthetic.write(tmp_path, records)))
    assert set(cosine.frame["schedule"]) == {"cosine"}
    assert set(cosine.frame["learning_rate"]) == {0.004} and set(cosine.frame["batch_tokens"]) == {2048.0}
    costs = cosine.raw[["own_flops_6nd", "wall_seconds", "device_seconds"]]
    assert set(costs.itertuples(index=False, name=None)) == {(5.0, 1.0, 1.0)}
    assert "own_flops_6nd" not in cosine.flop_conventions()


def test_a_file_need_not_say_how_its_runs_were_trained():
    plain = table.build(sources.from_frame(noise_free_frame())).frame
    assert set(plain["schedule"]) == {""} and plain[["learning_rate", "batch_tokens"]].isna().all(axis=None)
    told = table.build(sources.from_frame(noise_free_frame().assign(schedule="wsd", learning_rate=0.1))).frame
    assert set(told["schedule"]) == {"wsd"} and set(told["learning_rate"]) == {0.1}


def test_a_dense_ladder_is_not_one_size():
    """Its neighbours differ by 1% each, its ends by a factor of seven."""
    params = np.geomspace(1e7, 7e7, 200)
    frame = pd.DataFrame({"params": params, "tokens": np.resize([1e9, 2e9, 4e9], 200)})
    frame["loss"] = 1.8 + 400 / frame["params"] ** 0.34 + 410 / frame["tokens"] ** 0.28
    assert len(table.build(sources.from_frame(frame))) == 200
