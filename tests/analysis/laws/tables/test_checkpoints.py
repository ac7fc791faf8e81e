"""Checkpoints of one run are recognised by what they share, numbered, and one cluster."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from analysis.laws.tables.reading import Reading


def checkpoints(names: str = "run_name", step: bool = True) -> pd.DataFrame:
    """Five runs of five sizes with four checkpoints each."""
    rows = [
        {names: f"gpt-{size}", "params": 1e7 * 2**size, "tokens": 1e9 * (step + 1), "step": 1000 * (step + 1)}
        for size in range(5)
        for step in range(4)
    ]
    frame = pd.DataFrame(rows)
    frame["loss"] = 1.8 + 400 / frame["params"] ** 0.34 + 410 / frame["tokens"] ** 0.28
    return frame if step else frame.drop(columns="step")


def built(frame: pd.DataFrame, **columns: str) -> table.RunsTable:
    return table.build(sources.from_frame(frame, "runs.csv", Reading(columns)))


@pytest.mark.parametrize("names", ["run_name", "run_id", "id", "name"])
def test_rows_of_one_run_are_numbered_by_step_and_clustered(names):
    found = built(checkpoints(names))
    assert found.frame["run_id"][1] == "gpt-0@2000" and found.frame["run_id"].is_unique
    assert found.frame["cluster"].nunique() == 5 and found.frame["cluster"][1] == "gpt-0"
    assert any("20 rows are checkpoints of 5 runs, 4 to 4 each" in flag for flag in found.flags)


def test_without_steps_the_tokens_number_them():
    assert built(checkpoints(step=False)).frame["run_id"][1] == "gpt-0@2000000000"


def test_a_column_of_clusters_is_kept():
    found = built(checkpoints().assign(data_seed=[0, 1] * 10), cluster="data_seed")
    assert found.frame["cluster"].nunique() == 2 and found.frame["run_id"][0] == "gpt-0@1000"
    assert built(checkpoints(), cluster="run_name").frame["run_id"][0] == "gpt-0@1000", "it is the column of names, too"


def test_seeds_of_one_name_are_runs_of_their_own():
    """As many tokens twice: these are replicates, not a trajectory."""
    frame = checkpoints("name", step=False)
    frame["tokens"] = np.tile([1e9, 1e9, 2e9, 4e9], 5)
    found = built(frame.assign(seed=np.tile([0, 1, 0, 0], 5)))
    assert found.frame["cluster"].nunique() == 20 and list(found.frame["run_id"][:2]) == ["row 1", "row 2"]


def test_a_plain_name_that_repeats_without_steps_is_questioned_not_decided():
    found = built(checkpoints("name", step=False))
    assert found.frame["cluster"].nunique() == 20
    assert any("5 names stand in several rows" in flag and "--cluster=name" in flag for flag in found.flags)
    assert built(checkpoints("name", step=False), cluster="name").frame["cluster"].nunique() == 5


def test_names_that_are_unique_are_the_ids():
    frame = checkpoints("name", step=False).assign(name=lambda frame: "r" + frame.index.astype(str))
    assert list(built(frame).frame["run_id"][:2]) == ["r0", "r1"]


def test_an_id_of_two_sizes_is_a_mistake_not_a_run():
    frame = checkpoints("run_id")
    frame.loc[frame["run_id"] == "gpt-1", "run_id"] = "gpt-0"
    with pytest.raises(TableError, match="the run_id 'gpt-0' stands in rows 1, 2, 3, 4, 5 and 3 more"):
        built(frame)
