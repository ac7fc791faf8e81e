"""How records and tables are read: every cell and field that cannot be used is named, empty ones have a meaning."""

import pathlib

import numpy as np
import pandas as pd
import pytest
from etils import epath

from analysis.laws import study
from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from tests.analysis import synthetic
from tests.analysis.conftest import noise_free_frame

QUICK = study.Options(bootstrap=20)


def built(frame: pd.DataFrame, domain: str | None = None) -> table.RunsTable:
    return table.build(sources.from_frame(frame, "runs.csv"), table.Conventions(domain=domain))


def first_half(value, rest=None):
    """A column that says `value` in the first half of its rows."""
    return lambda frame: [value] * (len(frame) // 2) + [rest] * (len(frame) - len(frame) // 2)


def written(root: pathlib.Path, change) -> tuple[pathlib.Path, list[dict]]:
    """A ladder whose fourth record was changed."""
    records = synthetic.ladder(0)
    change(records[3])
    return synthetic.write(root, records), records


@pytest.mark.parametrize(
    "column", ["seed", "epochs", "loss_standard_error", "learning_rate", "batch_tokens", "flops_6nd_head", "loss_val"]
)
@pytest.mark.parametrize("value", ["oops", float("inf"), True, [1.0]], ids=str)
def test_a_cell_that_is_no_number_is_named(column, value):
    frame = noise_free_frame()
    frame[column] = pd.Series([None, None, value], dtype=object)
    with pytest.raises(TableError, match=rf"^runs\.csv: the column {column} is not a finite number in row 3 \("):
        built(frame)


@pytest.mark.parametrize("column", ["seed", "loss_standard_error", "cluster", "family", "name", "schedule", "kind"])
def test_empty_cells_are_those_of_a_column_that_is_not_there(column):
    part = built(noise_free_frame().assign(**{column: None}))
    absent = built(noise_free_frame())
    pd.testing.assert_frame_equal(part.frame, absent.frame)


@pytest.mark.slow
def test_a_run_that_names_no_cluster_is_one_of_its_own():
    """An empty cell must not stand for one more cluster, or for none."""
    fitted = study.fit_all(built(noise_free_frame().assign(cluster=first_half("trunk"))), QUICK)
    assert fitted.table.frame["cluster"].nunique() == 1 + len(fitted.table) // 2


def test_a_run_that_names_no_status_is_not_taken_for_a_completed_one():
    half = built(noise_free_frame().assign(status=first_half("completed")))
    assert set(half.excluded["reason"]) == {"no status"} and len(half) == len(half.excluded)


def test_a_second_loss_column_is_another_domain():
    frame = noise_free_frame().assign(loss_val=lambda frame: frame["loss"] + 1)
    other = built(frame, "val")
    np.testing.assert_allclose(other.frame["loss"], frame["loss"] + 1)
    assert other.frame["loss_standard_error"].isna().all()


def test_columns_without_a_name_in_words_do_no_harm():
    assert len(built(noise_free_frame().assign(**{"x": 0}).rename(columns={"x": 7}))) == len(noise_free_frame())


@pytest.mark.slow
def test_a_second_count_of_parameters_with_too_few_sizes_does_not_cost_the_fit():
    frame = noise_free_frame()
    fitted = study.fit_all(
        built(frame.assign(params_non_embedding=np.where(frame["params"] > 1e8, 2e6, 1e6))), study.Options(bootstrap=0)
    )
    assert {item.parameters for item in fitted.conventions} == {"total"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            lambda record: record["losses"]["validation"].update(nats_per_token="oops"),
            "losses.validation.nats_per_token",
        ),
        (lambda record: record.update(tokens="many"), "tokens"),
        (lambda record: record.update(seed=[1]), "seed"),
        (lambda record: record["flops"].update({"6nd": "lots"}), "flops.6nd"),
        (lambda record: record.update(own_flops=3), "own_flops"),
        (lambda record: record.update(model="llama"), "model"),
        (lambda record: record.update(losses={"validation": 3.0}), "losses.validation"),
        (lambda record: record["parameters"].update(total={}), "parameters.total"),
    ],
)
def test_a_misused_field_is_named_with_its_file(tmp_path, change, field):
    root, records = written(tmp_path, change)
    with pytest.raises(TableError, match=rf"{records[3]['run_id']}/record\.json: the field {field} is .*, not a"):
        table.load(str(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": "\xff"}', "is not UTF-8 text"), (b"[1]", "is not a JSON object"), (b"{\n", "is not JSON")],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, message):
    root, records = written(tmp_path, lambda record: None)
    (root / "synthetic" / records[3]["run_id"] / "record.json").write_bytes(content)
    with pytest.raises(TableError, match=rf"{records[3]['run_id']}/record\.json {message}"):
        table.load(str(root))


def test_folders_with_a_dot_in_their_names_are_read(tmp_path):
    synthetic.write(tmp_path / "ladder.v2", synthetic.ladder(0))
    assert len(table.load(str(tmp_path))) == 39


def test_an_object_store_out_of_reach_is_one_line(monkeypatch):
    def refuse(self):
        raise RuntimeError("Error executing an HTTP request\n\t when reading metadata")

    monkeypatch.setattr(type(epath.Path("gs://bucket/runs")), "exists", refuse)
    with pytest.raises(TableError, match=r"^gs://bucket/runs cannot be read: Error .* request when .*credentials"):
        table.load("gs://bucket/runs")


def test_a_loss_that_never_changes_is_refused():
    with pytest.raises(TableError, match="the loss is 3 in every usable run"):
        built(noise_free_frame().assign(loss=3.0))


def two_sweeps(root: pathlib.Path, first: str, second: str) -> str:
    """Two ladders with other seeds in one directory."""
    for number, sweep_id in enumerate((first, second)):
        for item in synthetic.ladder(number):
            parent = item["parent"] and item["parent"] | {"run_id": f"{number}-{item['parent']['run_id']}"}
            named = {"run_id": f"{number}-{item['run_id']}", "parent": parent, "sweep_id": sweep_id}
            synthetic.write(root, [item | named])
    return str(root)


@pytest.mark.parametrize("wanted", ["demo", "demo-0123abcd"])
def test_a_sweep_is_kept_by_its_name_or_its_id(tmp_path, wanted):
    path = two_sweeps(tmp_path, "demo-0123abcd", "my-study-4567cdef")
    kept = table.load(path, sweep=wanted)
    assert len(kept) == 39 and not kept.flags
    assert set(kept.raw["sweep_id"]) == {"demo-0123abcd"}
    with pytest.raises(TableError, match="no run of the sweep 'other'.*choose --sweep of demo, my-study"):
        table.load(path, sweep="other")


def test_a_table_of_several_sweeps_says_so(tmp_path):
    mixed = table.load(two_sweeps(tmp_path, "demo-0123abcd", "study-4567cdef"))
    assert any("several sweeps: demo, study; --sweep=NAME" in flag for flag in mixed.flags)


def test_a_sweep_that_was_extended_is_one_sweep(tmp_path):
    assert not table.load(two_sweeps(tmp_path, "demo-0123abcd", "demo-4567cdef")).flags
