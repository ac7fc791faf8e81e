"""Stores that MLflow 3.17.2 wrote are read without it; see fixtures/README.md."""

import json
import pathlib
import shutil
import sqlite3

import numpy as np
import pytest
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables import mlflow_stores, sources, table
from analysis.laws.tables.reading import Reading

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
LOSS = Reading({"loss": "val/loss"})


@pytest.fixture
def file_store(tmp_path) -> pathlib.Path:
    for name, content in json.loads((FIXTURES / "mlflow_file_store.json").read_text()).items():
        path = tmp_path / "mlruns" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "mlruns"


@pytest.fixture
def database(tmp_path) -> pathlib.Path:
    path = tmp_path / "a tracking %20 store.db"
    connection = sqlite3.connect(path)
    connection.executescript(f"BEGIN; {(FIXTURES / 'mlflow_database.sql').read_text()} COMMIT;")
    connection.close()
    return path


@pytest.fixture(params=["file_store", "database"])
def store(request) -> pathlib.Path:
    return request.getfixturevalue(request.param)


def a_run(file_store: pathlib.Path) -> pathlib.Path:
    return next(
        path.parent
        for path in sorted(file_store.glob("*/*/meta.yaml"))
        if (path.parent / "metrics" / "tokens").exists()
    )


def test_finished_runs_enter_and_others_say_what_mlflow_says(store):
    found = table.load(str(store), reading=LOSS)
    assert (
        len(found) == 9
        and set(found.frame["params"]) == {1e7, 4e7, 1.6e8}
        and set(found.frame["tokens"]) == {3e8, 1.2e9, 4.8e9}
    )
    assert dict(zip(found.excluded["name"], found.excluded["reason"], strict=True)) == {
        "out-of-memory": "FAILED: as MLflow says", "cancelled": "KILLED: as MLflow says", "going-on": "RUNNING: as MLflow says",
    }  # fmt: skip
    assert "removed" not in set(found.raw["name"]), "a deleted run is not there"
    assert "12 runs of ladder" in found.recognised[0]


def test_both_stores_hold_the_same_runs(file_store, database):
    frames = [table.load(str(path), reading=LOSS).frame.sort_values("name") for path in (file_store, database)]
    for column in ("name", "params", "tokens", "loss", "learning_rate"):
        np.testing.assert_array_equal(frames[0][column].to_numpy(), frames[1][column].to_numpy())


def test_the_last_value_counts_and_nan_and_infinity_are_those_that_were_logged(store):
    """The loss fell by 0.2 a step over three steps, so that another step would be off by that."""
    raw = sources.read(str(store), reading=LOSS)
    done = raw[raw["status"] == "completed"]
    np.testing.assert_allclose(done["loss_as_given"] - 0.05, done["metrics.train/loss"], atol=1e-12)
    assert np.isnan(done["metrics.grad_norm/min"]).all() and np.isposinf(done["metrics.grad_norm/max"]).all()


def test_two_losses_are_not_guessed_between(store):
    with pytest.raises(TableError, match=r"loss could be any of the columns metrics\.\w+/loss, metrics\.\w+/loss"):
        table.load(str(store))


@pytest.mark.parametrize("address", ["{}", "mlflow:{}", "mlflow:file://{}", "mlflow:file:{}"])
def test_addresses_of_a_file_store(file_store, address):
    for place in (file_store, file_store.parent):
        assert len(table.load(address.format(place), reading=LOSS)) == 9


def test_one_experiment_may_be_given_or_chosen(file_store):
    experiment = a_run(file_store).parent
    assert len(table.load(str(experiment), reading=LOSS)) == 9
    assert len(table.load(str(file_store), sweep="ladder", reading=LOSS)) == 9
    with pytest.raises(TableError, match="no run of the sweep 'other'.*ladder"):
        table.load(str(file_store), sweep="other", reading=LOSS)


def test_addresses_of_a_database(database):
    assert len(table.load(f"mlflow:sqlite:///{database}", reading=LOSS)) == 9
    shutil.copy(database, database.parent / mlflow_stores.DATABASE)
    assert len(table.load(str(database.parent), reading=LOSS)) == 9


def test_a_server_is_refused_with_a_way_out():
    with pytest.raises(TableError, match=r"http://host:5000 is a tracking server.*search_runs"):
        table.load("mlflow:http://host:5000")


def test_runs_are_named_in_messages_by_their_ids(file_store):
    run = a_run(file_store)
    (run / "metrics" / "val" / "loss").write_text("1795527665771 nan 0\n")
    with pytest.raises(TableError, match=rf"the column loss .* in run {run.name} \(nan\)"):
        table.load(str(file_store), reading=LOSS)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics/tokens", b"soon\n", r"metrics/tokens is no metric of MLflow"),
        ("metrics/tokens", b"", r"metrics/tokens is no metric of MLflow"),
        ("meta.yaml", b"a: [", r"meta\.yaml is not YAML"),
        ("meta.yaml", b"- 1", r"meta\.yaml is no mapping"),
        ("params/lr", b"\xff", r"params/lr is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(file_store, file, content, message):
    (a_run(file_store) / file).write_bytes(content)
    with pytest.raises(TableError, match=message):
        table.load(str(file_store), reading=LOSS)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(TableError, match="is no MLflow store"):
        table.load(f"mlflow:{tmp_path}")
    sqlite3.connect(tmp_path / "other.db").executescript("CREATE TABLE runs (x)").close()
    with pytest.raises(TableError, match=r"other\.db cannot be read as an MLflow database"):
        table.load(str(tmp_path / "other.db"))


def test_an_empty_store_is_refused(file_store):
    for path in file_store.glob("*/*/meta.yaml"):
        shutil.rmtree(path.parent)
    with pytest.raises(TableError, match="holds no MLflow run"):
        mlflow_stores.read(epath.Path(file_store))


def test_a_table_of_search_runs_is_read_like_the_store(file_store, tmp_path):
    """mlflow.search_runs() names its columns so, and a server's runs come that way."""
    raw = sources.read(str(file_store), reading=LOSS)
    exported = raw.rename(
        columns={
            "params_total": "params.model.n_params",
            "tokens": "metrics.tokens",
            "loss_as_given": "metrics.val/loss",
        }
    )
    wanted = ["run_id", "status", "params.model.n_params", "metrics.tokens", "metrics.val/loss", "metrics.train/loss"]
    exported[wanted].assign(**{"tags.mlflow.runName": raw["name"]}).to_csv(tmp_path / "runs.csv", index=False)
    found = table.load(str(tmp_path / "runs.csv"), reading=LOSS)
    np.testing.assert_array_equal(found.frame["loss"], table.load(str(file_store), reading=LOSS).frame["loss"])
    assert set(found.frame["name"]) == set(raw.loc[raw["status"] == "completed", "name"])
