"""Every check names its rows: what is refused, what is questioned, and what gives no reason to do either."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from tests.analysis.conftest import noise_free_frame


def built(frame: pd.DataFrame) -> table.RunsTable:
    return table.build(sources.from_frame(frame, "runs.csv"))


def whole() -> pd.DataFrame:
    """A table that nothing is wrong with: whole tokens, FLOPs counted by somebody else within a few per cent of 6·N·D."""
    frame = noise_free_frame()
    return frame.assign(tokens=frame["tokens"].round(), flops=frame["flops"] * 1.04)


def test_a_sound_table_is_not_questioned():
    assert built(whole()).flags == ()


def test_all_bad_cells_are_in_one_message_with_five_rows_of_each_column():
    frame = whole()
    frame.loc[3:11, "loss"] = np.nan
    frame.loc[1, "params"] = -1.0
    with pytest.raises(TableError) as caught:
        built(frame)
    assert "the column params is not a positive finite number in row 2 (-1.0); " in str(caught.value)
    assert "the column loss is not a positive finite number in row 4 (nan), " in str(caught.value)
    assert "row 8 (nan) and 4 more" in str(caught.value) and "row 9" not in str(caught.value)


def test_the_line_of_a_csv_is_named_beside_the_row(tmp_path):
    frame = whole()
    frame.loc[5, "loss"] = np.nan
    frame.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(TableError, match=r"row 6 \(nan, line 7\)"):
        table.load(str(tmp_path / "runs.csv"))


def test_forward_only_flops_are_called_that():
    frame = whole()
    frame.loc[[2, 4], "flops"] /= 3
    flags = built(frame).flags
    assert len(flags) == 1
    assert (
        "flops are a third of 6·N·D in row 3 (0.347), row 5 (0.347): they count the forward pass only (factor 3)"
        in flags[0]
    )


def test_other_flops_far_from_6nd_are_named_with_their_ratio():
    frame = whole()
    frame.loc[7, "flops"] *= 2
    assert any("more than a factor 1.5 in row 8 (2.08)" in flag for flag in built(frame).flags)
    frame = whole().assign(tokens=lambda frame: frame["tokens"] / 1e3)
    assert any("do all three columns count in ones (--units)?" in flag for flag in built(frame).flags)


def test_tokens_that_were_computed_from_flops_are_noticed():
    assert any("they look derived from FLOPs" in flag for flag in built(noise_free_frame()).flags)


def test_a_column_that_counts_no_training_flops_is_no_convention():
    frame = whole()
    found = built(frame.assign(flops_per_token=6 * frame["params"], flops_with_head=1.1 * frame["flops"]))
    assert set(found.flop_conventions()) == {"as_given", "with_head", "6nd"}
    assert any("left out: flops_per_token" in flag for flag in found.flags)


def test_rows_that_repeat_another_in_every_column_are_left_out_and_named():
    frame = pd.concat([whole(), whole().iloc[[3, 9]]])
    found = built(frame)
    assert len(found) == len(whole())
    assert list(found.excluded["run_id"]) == ["row 49", "row 50"]
    assert any("repeat an earlier row in every column: row 49, row 50" in flag for flag in found.flags)


def test_rows_that_nothing_tells_apart_are_questioned_unless_they_have_seeds():
    frame = pd.concat([whole(), whole().iloc[[3]]], ignore_index=True).assign(note=lambda frame: frame.index)
    assert any("those of another row in row 4, row 49, and no seed" in flag for flag in built(frame).flags)
    assert built(frame.assign(seed=frame.index)).flags == ()


def test_repeated_ids_are_refused():
    with pytest.raises(TableError, match="the run_id 'x' stands in rows 1, 2, 3, 4, 5 and 43 more"):
        built(whole().assign(run_id="x"))


def test_rows_of_runs_that_did_not_complete_are_not_checked():
    frame = whole().assign(status="completed")
    frame.loc[3, ["status", "loss", "flops"]] = ["crashed", np.nan, 1.0]
    found = built(frame)
    assert found.flags == () and list(found.excluded["reason"]) == ["crashed"]


@pytest.mark.parametrize("status", ["completed", "COMPLETED", "finished", "FINISHED", "success"])
def test_words_of_schedulers_for_completed_runs(status):
    assert len(built(whole().assign(status=status))) == len(whole())
