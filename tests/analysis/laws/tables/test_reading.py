"""Conditions keep the rows they say, and rows keep their numbers."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from analysis.laws.tables.reading import Condition, Reading, keep
from tests.analysis import synthetic
from tests.analysis.conftest import noise_free_frame

FRAME = pd.DataFrame({
    "data set": ["rw", "rw", "owt2", None], "size": [1, 2, 3, 4], "loss": ["4.5", "3", "2", "x"], "tuned": [True, False, True, False],
})  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["data set=rw"], [0, 1]), (["data set!=rw"], [2, 3]), (["data set = owt2", "data set=rw"], [0, 1, 2]), (["size>=3"], [2, 3]),
        (["size<3", "data set=rw", "loss<4"], [1]), (["size=2.0"], [1]), (["loss<=3"], [1, 2]), (["loss>2"], [0, 1]), (["tuned=True"], [0, 2]),
        (["size>1", "size<4"], [1, 2]), (["size!=2"], [0, 2, 3]),
    ],
)  # fmt: skip
def test_conditions_keep_the_rows_that_they_say(conditions, rows):
    assert list(keep(FRAME, tuple(map(Condition.parse, conditions)), "runs.csv").index) == rows


def test_a_condition_that_no_row_fulfils_lists_the_values():
    with pytest.raises(TableError, match=r"no row fulfils --where=data set=c4.*data set is rw, owt2"):
        keep(FRAME, (Condition.parse("data set=c4"),), "runs.csv")


def test_a_condition_without_comparison_and_one_on_nothing_are_refused():
    with pytest.raises(TableError, match="--where=rw holds no comparison"):
        Condition.parse("rw")
    with pytest.raises(TableError, match="compares with 'rw', which is no number"):
        Condition.parse("data set<rw")
    with pytest.raises(TableError, match=r"no column 'dataset', which --where=dataset=rw names.*data set"):
        keep(FRAME, (Condition.parse("dataset=rw"),), "runs.csv")


def test_rows_keep_their_numbers_when_others_are_left_out():
    """A message about row 30 must mean row 30 of the file."""
    frame = noise_free_frame()
    frame.loc[29, "loss"] = np.nan
    with pytest.raises(TableError, match=r"in row 30 \(nan\)"):
        sources.from_frame(frame, "runs.csv", Reading(where=(Condition.parse("flops>1e18"),)))
    found = table.build(sources.from_frame(noise_free_frame(), reading=Reading(where=(Condition.parse("flops>1e18"),))))
    assert found.frame["run_id"][0] == "row 17" and found.recognised == ("--where keeps 32 of 48 rows",)


def test_records_can_be_chosen_but_not_renamed(tmp_path):
    path = str(synthetic.write(tmp_path, synthetic.ladder(0)))
    kept = table.load(path, reading=Reading(where=(Condition.parse("params_total>10000"),)))
    assert 0 < len(kept) < 39 and (kept.frame["params"] > 10000).all()
    with pytest.raises(
        TableError, match="holds records, which name their own columns.*leave out --columns, --loss_unit"
    ):
        table.load(path, reading=Reading({"params": "N"}, loss_unit="bits"))
