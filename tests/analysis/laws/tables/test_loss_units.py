"""Losses become nats per token where they can; a loss that looks like another unit is questioned, never silently taken."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from analysis.laws.tables.reading import Reading
from tests.analysis.conftest import noise_free_frame

BYTES = 4.2


def built(frame: pd.DataFrame, **options) -> table.RunsTable:
    return table.build(sources.from_frame(frame, "runs.csv", Reading(**options)))


def with_losses(change) -> pd.DataFrame:
    frame = noise_free_frame()
    return frame.assign(loss=change(frame["loss"]), loss_standard_error=0.01, loss_code=change(frame["loss"] + 0.5))


@pytest.mark.parametrize(
    ("unit", "change", "options"),
    [
        ("bits", lambda nats: nats / np.log(2), {}),
        ("perplexity", np.exp, {}),
        ("nats_per_byte", lambda nats: nats / BYTES, {"bytes_per_token": BYTES}),
        ("bits_per_byte", lambda nats: nats / np.log(2) / BYTES, {"bytes_per_token": BYTES}),
    ],
)
def test_every_unit_becomes_nats_per_token(unit, change, options):
    raw = sources.from_frame(with_losses(change), reading=Reading(loss_unit=unit, **options))
    found = table.build(raw)
    np.testing.assert_allclose(found.frame["loss"], noise_free_frame()["loss"], rtol=1e-13)
    np.testing.assert_allclose(
        found.under(table.Conventions(domain="code")).frame["loss"], noise_free_frame()["loss"] + 0.5, rtol=1e-13
    )
    assert found.loss_unit == "nats per token" and any("nats per token" in text for text in found.recognised)


def test_a_standard_error_follows_its_loss():
    """The error of ln p is that of p over p; a factor on the loss is one on its error."""
    perplexities = with_losses(np.exp)
    found = built(perplexities, loss_unit="perplexity").frame
    np.testing.assert_allclose(found["loss_standard_error"], 0.01 / perplexities["loss"])
    bits = built(with_losses(lambda nats: nats / np.log(2)), loss_unit="bits").frame
    np.testing.assert_allclose(bits["loss_standard_error"], 0.01 * np.log(2))


def test_a_column_of_bytes_per_token_converts_each_row_by_its_own():
    frame = noise_free_frame()
    each = np.where(frame.index % 2, 3.0, 5.0)
    found = built(frame.assign(loss=frame["loss"] / each, bytes_per_token=each), loss_unit="nats_per_byte")
    np.testing.assert_allclose(found.frame["loss"], frame["loss"], rtol=1e-13)


def test_bytes_per_token_missing_in_some_rows_are_refused_by_row():
    frame = noise_free_frame().assign(bytes_per_token=4.0)
    frame.loc[2, "bytes_per_token"] = np.nan
    with pytest.raises(TableError, match=r"bytes_per_token is not a positive number in row 3 \(nan\)"):
        built(frame, loss_unit="bits_per_byte")


def test_a_loss_per_byte_stays_one_without_bytes_per_token_and_says_so():
    frame = with_losses(lambda nats: nats / np.log(2) / BYTES)
    found = built(frame, loss_unit="bits_per_byte")
    np.testing.assert_array_equal(found.frame["loss"], frame["loss"])
    assert found.loss_unit == "bits per byte"
    assert any("losses stay in bits per byte: E, A, B and every forecast" in flag for flag in found.flags)
    assert found.under(table.Conventions()).loss_unit == "bits per byte", (
        "the unit belongs to the table, whatever is counted"
    )


def test_losses_that_look_like_bits_per_byte_are_questioned_until_the_unit_is_said():
    frame = with_losses(lambda nats: nats / np.log(2) / BYTES)
    assert frame["loss"].max() < 1.6
    poor = frame.copy()
    poor.loc[0, "loss"] = 2.7
    for table_of_bits in (frame, poor):
        assert any("look like bits or nats per byte" in flag for flag in built(table_of_bits).flags)
        assert not any("look like" in flag for flag in built(table_of_bits, loss_unit="nats").flags)
    assert not any("look like" in flag for flag in built(with_losses(lambda nats: nats)).flags)


def test_losses_that_look_like_perplexity_are_questioned():
    frame = with_losses(lambda nats: 10 * np.exp(nats))
    assert any("most losses (48 of 48" in flag and "--loss_unit=perplexity" in flag for flag in built(frame).flags)
    nats = noise_free_frame()
    assert any("every perplexity is below 13" in flag for flag in built(nats, loss_unit="perplexity").flags)


def test_single_losses_above_any_guess_are_named_by_row():
    frame = noise_free_frame()
    frame.loc[6, "loss"] = 25.0
    assert any("in row 7 (25.0): did these runs diverge?" in flag for flag in built(frame).flags)


def test_a_perplexity_below_one_is_refused_by_row():
    frame = with_losses(np.exp)
    frame.loc[4, "loss"] = 0.9
    with pytest.raises(TableError, match=r"the column loss is below 1 in row 5 \(0\.9\), which no perplexity is"):
        built(frame, loss_unit="perplexity")


def test_a_flag_that_could_have_no_effect_is_refused():
    with pytest.raises(TableError, match="--bytes_per_token is only of use for a loss per byte"):
        Reading(bytes_per_token=4.0)
    with pytest.raises(TableError, match="--loss_unit=bananas is unknown.*nats, bits"):
        Reading(loss_unit="bananas")
