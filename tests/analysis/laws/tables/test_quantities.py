"""Cells become the numbers that people mean, and nothing else becomes a number."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import quantities, sources, table
from analysis.laws.tables.reading import Reading
from tests.analysis.conftest import noise_free_frame


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("70M", 7e7), ("1.4T", 1.4e12), ("350k", 3.5e5), ("6.9 B", 6.9e9), ("2G", 2e9), ("1,234,567", 1234567.0), ("1.2E21", 1.2e21),
        ('"70000000"', 7e7), (" 5 ", 5.0), (7, 7.0), (np.float32(0.5), 0.5), ("-1", -1.0),
    ],
)  # fmt: skip
def test_a_count_is_read_as_people_write_it(cell, value):
    assert quantities.number(cell, suffixes=True) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("cell", ["", "  ", None, math.nan, pd.NA])
def test_an_empty_cell_is_nan(cell):
    assert math.isnan(quantities.number(cell, suffixes=True))


@pytest.mark.parametrize("cell", ["M", "70 M params", "1,5", "7x", True, np.True_, [1.0], {}, "1,23,456"])
def test_what_is_no_number_is_none(cell):
    assert quantities.number(cell, suffixes=True) is None


def test_a_loss_has_no_suffix():
    """A loss of "3k" is a mistake, not three thousand nats."""
    assert quantities.number("3k") is None


def test_nullable_integers_of_parquet_keep_their_empty_cells():
    values, bad = quantities.numbers(pd.Series([1, None], dtype="Int64"))
    assert values[0] == 1.0 and math.isnan(values[1]) and not bad.any()


def in_millions(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(params=frame["params"] / 1e6, tokens=frame["tokens"] / 1e9)


def test_units_and_suffixes_give_the_same_table_as_plain_counts():
    frame = noise_free_frame()
    plain = table.build(sources.from_frame(frame)).frame
    scaled = table.build(
        sources.from_frame(in_millions(frame), reading=Reading(units={"params": 1e6, "tokens": 1e9}))
    ).frame
    words = in_millions(frame)
    words = words.assign(params=words["params"].map("{:.17g}M".format), tokens=words["tokens"].map("{:.17g}B".format))
    written = table.build(sources.from_frame(words)).frame
    for other in (scaled, written):
        np.testing.assert_allclose(
            other[["params", "tokens", "flops"]], plain[["params", "tokens", "flops"]], rtol=1e-12
        )


def test_counts_that_look_like_millions_are_questioned():
    frame = noise_free_frame()
    frame = frame.assign(params=frame["params"] / 1e9).drop(columns="flops")
    assert any("the largest params is" in flag and "--units=params=" in flag for flag in built(frame).flags)
    assert not any("--units" in flag for flag in built(noise_free_frame()).flags)


def built(frame: pd.DataFrame, **options) -> table.RunsTable:
    return table.build(sources.from_frame(frame, "runs.csv", Reading(**options)))


def test_a_unit_is_not_applied_to_cells_that_have_their_own():
    frame = noise_free_frame().astype({"params": object})
    frame.loc[3, "params"] = "70M"
    with pytest.raises(
        TableError, match=r"--units=params=1e\+06 meets cells with a unit of their own in row 4 \(70M\)"
    ):
        built(frame, units={"params": 1e6})


def test_a_unit_of_something_that_is_no_count_is_refused():
    with pytest.raises(TableError, match="--units=loss names no column that counts something"):
        built(noise_free_frame(), units={"loss": 2.0})
