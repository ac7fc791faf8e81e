"""Tables that others published are read by flags alone, and give the numbers that were made from them."""

import pathlib

import numpy as np
import pandas as pd
import pytest

from analysis.laws.tables import table
from analysis.laws.tables.reading import Condition, Reading


def where(*conditions: str) -> tuple[Condition, ...]:
    return tuple(map(Condition.parse, conditions))


def test_epoch_s_points_are_those_that_the_fits_use(shared_data: pathlib.Path, epoch: table.RunsTable):
    """240 rows, as Besiroglu et al. filter them; the names are recognised, tokens derived."""
    path = shared_data / "epoch_chinchilla" / "svg_extracted_data.csv"
    fifth = float(np.sort(pd.read_csv(path)["loss"])[-5])
    found = table.load(str(path), reading=Reading(derive=("tokens",), where=where(f"loss<{fifth!r}")))
    assert len(found) == 240
    pd.testing.assert_frame_equal(
        found.frame[["params", "tokens", "flops", "loss"]], epoch.frame[["params", "tokens", "flops", "loss"]]
    )
    assert found.recognised[1] == "columns recognised: params from 'Model Size', flops from 'Training FLOP'"


def test_epoch_s_points_need_to_be_asked_for_tokens(shared_data: pathlib.Path):
    with pytest.raises(table.TableError, match=r"lacks the column tokens; .*Model Size.*--derive=tokens"):
        table.load(str(shared_data / "epoch_chinchilla" / "svg_extracted_data.csv"))


@pytest.mark.parametrize(("name", "rows"), [("hot", 220), ("cool_end", 199)])
def test_gemstones_are_checkpoints_of_their_runs(shared_data: pathlib.Path, name, rows):
    path = shared_data / "gemstones" / f"wandb_df_for_fitting_{name}.jsonl"
    found = table.load(str(path), reading=Reading({"params": "params_active_precise"}))
    raw = pd.read_json(path, lines=True)
    assert len(found) == rows == len(raw)
    assert found.frame["cluster"].nunique() == raw["run_name"].nunique()
    assert found.frame["run_id"][0] == f"{raw['run_name'][0]}@{raw['step'][0]}"
    assert any(f"{rows} rows are checkpoints of {raw['run_name'].nunique()} runs" in flag for flag in found.flags)


def test_datablations_carry_unique_tokens_and_epochs(shared_data: pathlib.Path):
    path = shared_data / "datablations" / "fit_182.csv"
    found, raw = table.load(str(path)), pd.read_csv(path)
    np.testing.assert_array_equal(found.frame["unique_tokens"], raw["U_unique"])
    np.testing.assert_array_equal(found.frame["epochs"], raw["D_total"] / raw["U_unique"])
    assert found.frame["run_id"][0] == raw["name"][0] and found.frame["cluster"].is_unique


def test_porian_s_points_are_chosen_by_conditions(shared_data: pathlib.Path):
    path = shared_data / "porian2024" / "isoflop_points.csv"
    conditions = where("dataset=rw", "hparams=tuned", "param_count=standard")
    found, raw = table.load(str(path), reading=Reading({"params": "n"}, where=conditions)), pd.read_csv(path)
    chosen = raw[(raw["dataset"] == "rw") & (raw["hparams"] == "tuned") & (raw["param_count"] == "standard")]
    np.testing.assert_array_equal(found.frame[["params", "tokens", "loss"]], chosen[["n", "tokens", "loss"]])
    assert found.frame["run_id"][0] == f"row {chosen.index[0] + 1}"
    assert any("they look derived from FLOPs" in flag for flag in found.flags)
