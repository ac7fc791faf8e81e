"""What W&B exports and leaves on disk is read; runs that did not finish enter nothing."""

import csv
import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import table
from analysis.laws.tables.reading import Reading
from tests.analysis.conftest import noise_free_frame

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
STATES = ("crashed", "failed", "running", "killed")


def runs() -> list[dict]:
    """What `wandb.Api().runs(...)` gives of a ladder, four runs of which did not finish; the loss of those is still high or missing."""
    rows = noise_free_frame().to_dict("records")
    listed = [
        {
            "id": f"id{number}", "name": f"gpt-{number}", "state": "finished",
            "config": {"model": {"n_params": row["params"]}, "lr": 0.001, "loss_fn": "xent", "flops_profiler": False, "_wandb": {"t": 1}},
            "summary": {"val/loss": row["loss"], "tokens": row["tokens"], "_step": 10 * number, "_wandb": {"runtime": 3}},
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    for item, state in zip(listed, STATES, strict=False):
        item["state"] = state
        item["summary"]["val/loss"] = None if state == "crashed" else 99.0
    return listed


def page() -> list[dict]:
    """The same as the CSV of a project's page: no id, configuration and summary side by side."""
    return [
        {
            "Name": item["name"], "State": item["state"], "Notes": "-", "Created": "2026-01-01T00:00:00.000Z",
            "model.n_params": f"{item['config']['model']['n_params']:.17g}", "loss_fn": "xent", "flops_profiler": "false",
            "tokens": f"{item['summary']['tokens']:.17g}", "val/loss": item["summary"]["val/loss"],
        }
        for item in runs()
    ]  # fmt: skip


def expect(found: table.RunsTable) -> None:
    frame = noise_free_frame().iloc[4:]
    np.testing.assert_allclose(
        found.frame[["params", "tokens", "loss"]], frame[["params", "tokens", "loss"]], rtol=1e-15
    )
    assert list(found.excluded["reason"]) == [f"{state}: as W&B says" for state in STATES]
    assert list(found.frame["name"][:2]) == ["gpt-4", "gpt-5"]
    assert found.flop_conventions() == ("6nd",) and found.conventions.domain == "as_given"


def test_the_csv_of_a_page_is_read_with_every_cell_quoted(tmp_path):
    pd.DataFrame(page()).to_csv(tmp_path / "project.csv", index=False, quoting=csv.QUOTE_ALL)
    found = table.load(str(tmp_path / "project.csv"))
    expect(found)
    assert found.recognised[0] == "a W&B export" and "params from 'model.n_params'" in found.recognised[1]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_a_dump_of_the_api_is_read(tmp_path, suffix):
    lines = "\n".join(map(json.dumps, runs()))
    (tmp_path / f"runs{suffix}").write_text(lines if suffix == ".jsonl" else json.dumps(runs()))
    found = table.load(str(tmp_path / f"runs{suffix}"))
    expect(found)
    assert found.frame["run_id"][0] == "id4"
    assert "config.loss_fn" in found.raw.columns and not any("_wandb" in name for name in found.raw.columns)


def test_raw_configurations_of_the_api_are_unwrapped(tmp_path):
    wrapped = [
        item | {"config": {key: {"value": value, "desc": None} for key, value in item["config"].items()}}
        for item in runs()
    ]
    for item in wrapped:
        item["config"]["n_params"] = {"value": item["config"].pop("model")["value"]["n_params"]}
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, wrapped)))
    expect(table.load(str(tmp_path / "runs.jsonl")))


def test_the_csv_of_the_documented_export_holds_dictionaries_as_python_writes_them(tmp_path):
    rows = [item | {"summary": item["summary"] | {"worst": float("nan"), "best": float("-inf")}} for item in runs()]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "project.csv")
    assert "{'model':" in (tmp_path / "project.csv").read_text() and "nan" in (tmp_path / "project.csv").read_text()
    found = table.load(str(tmp_path / "project.csv"))
    expect(found)
    assert found.raw["summary.worst"].isna().all() and np.isneginf(found.raw["summary.best"]).all()


def test_a_cell_that_is_no_dictionary_is_named(tmp_path):
    frame = pd.DataFrame(runs()).astype({"summary": object})
    frame["summary"] = frame["summary"].astype(str)
    frame.loc[6, "summary"] = "{'a': open('x')}"
    frame.to_csv(tmp_path / "project.csv", index=False)
    with pytest.raises(TableError, match=r"the column summary holds no dictionary in row 7 \(line 8\)"):
        table.load(str(tmp_path / "project.csv"))


def test_an_export_without_states_says_that_it_cannot_know(tmp_path):
    pd.DataFrame(page()[4:]).drop(columns="State").to_csv(tmp_path / "project.csv", index=False)
    found = table.load(f"wandb:{tmp_path / 'project.csv'}")
    assert len(found) == 44 and any("does not say how its runs ended" in flag for flag in found.flags)


@pytest.fixture
def directories(tmp_path) -> pathlib.Path:
    """The run directories that wandb 0.31.0 wrote; see fixtures/README.md."""
    for name, content in json.loads((FIXTURES / "wandb_run_directories.json").read_text()).items():
        path = tmp_path / "wandb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "wandb"


@pytest.mark.parametrize("address", ["{}", "wandb:{}"])
def test_run_directories_are_read_and_what_they_do_not_say_is_said(directories, address):
    for place in (directories, directories.parent):
        found = table.load(address.format(place))
        # Nine finished, and one that failed and left the same files.
        assert len(found) == 10 and set(found.frame["params"]) == {1e7, 4e7, 1.6e8, 6.4e8}
        assert list(found.excluded["reason"]) == [
            "unfinished: there is no files/config.yaml and no files/wandb-summary.json"
        ]
        assert any("do not say whether a run that has a summary ended as it should" in flag for flag in found.flags)
    assert list(found.frame["learning_rate"].unique()) == [0.001]


def test_a_resumed_run_is_read_from_its_last_directory(directories):
    first = next(path for path in sorted(directories.iterdir()) if (path / "files" / "wandb-summary.json").exists())
    later = directories / f"run-20270101_000000-{first.name.split('-')[-1]}" / "files"
    later.mkdir(parents=True)
    (later / "config.yaml").write_text((first / "files" / "config.yaml").read_text())
    summary = json.loads((first / "files" / "wandb-summary.json").read_text())
    (later / "wandb-summary.json").write_text(json.dumps(summary | {"tokens": 9.6e9}))
    found = table.load(str(directories))
    assert len(found) == 10 and 9.6e9 in set(found.frame["tokens"])
    assert "an earlier part" in found.recognised[0]


def test_offline_directories_name_the_way_out(tmp_path):
    (tmp_path / "wandb" / "offline-run-20260101_000000-abc" / "files").mkdir(parents=True)
    with pytest.raises(TableError, match=r"none of the 1 runs has files/wandb-summary\.json.*wandb sync"):
        table.load(str(tmp_path))
    with pytest.raises(TableError, match="holds no run directory of W&B"):
        table.load(f"wandb:{tmp_path / 'wandb' / 'offline-run-20260101_000000-abc' / 'files'}")


def test_a_damaged_file_of_a_run_is_named(directories):
    path = next(directories.glob("*/files/wandb-summary.json"))
    path.write_text("{")
    with pytest.raises(TableError, match=r"wandb-summary\.json cannot be read"):
        table.load(str(directories))


def test_a_directory_of_nothing_known_says_what_is_known(tmp_path):
    with pytest.raises(TableError, match=r"holds no record\.json.*MLflow store or W&B run directories"):
        table.load(str(tmp_path), reading=Reading())
