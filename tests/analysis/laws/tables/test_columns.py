"""Their columns become ours by a flag, by name or by alias; what is guessed is said, what is ambiguous is refused."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import columns, sources, table
from analysis.laws.tables.reading import Reading
from tests.analysis.conftest import noise_free_frame


def renamed(**names: str) -> pd.DataFrame:
    return noise_free_frame().rename(columns=names)


def built(frame: pd.DataFrame, **options) -> table.RunsTable:
    return table.build(sources.from_frame(frame, "runs.csv", Reading(**options)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("params", "n_params"), ("params", "Num Params"), ("params", "parameters"), ("params", "N"), ("params", "Model Size"),
        ("params", "config.model.n_params"), ("params", "params.n_params"), ("tokens", "D"), ("tokens", "n_tokens"),
        ("tokens", "train_tokens"), ("tokens", "throughput/total_tokens"), ("tokens", "train/num_input_tokens_seen"), ("flops", "C"),
        ("flops", "flop"), ("flops", "Training FLOP"), ("flops", "train/total_flos"), ("loss", "final_loss"), ("loss", "val_loss"),
        ("loss", "summary.val/loss"), ("loss", "metrics.eval/loss"), ("loss", "Final Loss"),
    ],
)  # fmt: skip
def test_names_that_exports_use_are_recognised_and_said(ours, theirs):
    found = built(renamed(**{ours: theirs}))
    np.testing.assert_array_equal(found.frame[ours], noise_free_frame()[ours])
    assert found.recognised == (f"columns recognised: {ours} from {theirs!r}",)


@pytest.mark.parametrize("theirs", ["n", "d", "width", "train/loss_scale", "lossy", "params_norm", "tokens_per_second"])
def test_names_that_say_too_little_are_not_recognised(theirs):
    assert not columns.recognise(pd.DataFrame({theirs: [1.0]}), {}, "runs.csv").mapping


def test_our_own_names_need_no_words():
    assert built(noise_free_frame()).recognised == ()


def test_two_candidates_are_refused_by_their_names():
    frame = renamed(loss="val_loss").assign(train_loss=1.0)
    with pytest.raises(TableError, match=r"loss could be any of the columns val_loss, train_loss.*--columns=loss=NAME"):
        built(frame)
    chosen = built(frame, columns={"loss": "val_loss"})
    np.testing.assert_array_equal(chosen.frame["loss"], noise_free_frame()["loss"])


def test_our_own_name_wins_over_an_alias_and_the_other_is_named():
    found = built(noise_free_frame().assign(val_loss=9.0))
    np.testing.assert_array_equal(found.frame["loss"], noise_free_frame()["loss"])
    assert found.recognised == ("loss is the column loss; there is also val_loss (--columns=loss=...)",)


def test_an_optional_column_with_two_candidates_is_left_out_and_said():
    found = built(noise_free_frame().assign(lr=1.0, max_lr=2.0))
    assert found.frame["learning_rate"].isna().all()
    assert any("learning_rate could be lr or max_lr" in text for text in found.recognised)


def test_a_mapping_takes_names_with_spaces_dots_and_slashes():
    frame = renamed(params="Model Size (all)", loss="eval/c4.en/loss").assign(loss=99.0)
    found = built(frame, columns={"params": "Model Size (all)", "loss": "eval/c4.en/loss"})
    np.testing.assert_array_equal(found.frame[["params", "loss"]], noise_free_frame()[["params", "loss"]])
    assert "loss from 'eval/c4.en/loss'" in found.recognised[0]


def test_a_mapping_may_leave_out_the_prefix_of_a_tracker_unless_two_have_it():
    frame = renamed(loss="summary.quality").assign(**{"config.size": noise_free_frame()["params"], "tags.size": 1.0})
    assert len(built(frame, columns={"loss": "quality"})) == len(frame)
    with pytest.raises(TableError, match=r"--columns=params could be config\.size or tags\.size.*whole name"):
        built(frame, columns={"params": "size"})


def test_a_mapping_to_nothing_lists_similar_names():
    with pytest.raises(TableError, match=r"runs\.csv has no column 'paramss', which --columns=params names.*params"):
        built(noise_free_frame(), columns={"params": "paramss"})


def test_a_mapping_of_what_is_none_of_ours_is_refused():
    with pytest.raises(TableError, match=r"--columns=size=params: size is no column of ours.*params, "):
        built(noise_free_frame(), columns={"size": "params"})


def test_a_further_loss_can_be_mapped_and_chosen():
    frame = noise_free_frame().assign(code=lambda frame: frame["loss"] - 1)
    raw = sources.from_frame(frame, reading=Reading(columns={"loss_code": "code"}))
    np.testing.assert_allclose(table.build(raw, table.Conventions(domain="code")).frame["loss"], frame["loss"] - 1)


def test_missing_columns_name_the_way_out():
    with pytest.raises(TableError, match=r"lacks the column tokens; .*--derive=tokens computes them"):
        built(noise_free_frame().drop(columns="tokens"))
    with pytest.raises(TableError, match=r"lacks the column loss; .*--columns=loss=val_ppl --loss_unit=perplexity"):
        built(renamed(loss="val_ppl"))


def test_tokens_are_derived_only_when_asked_and_that_is_flagged():
    frame = noise_free_frame()
    found = built(frame.drop(columns="tokens"), derive=("tokens",))
    np.testing.assert_allclose(found.frame["tokens"], frame["tokens"], rtol=1e-14)
    assert any("tokens are derived, D = C/(6N), in 48 of 48 rows" in flag for flag in found.flags)


def test_derivation_fills_empty_cells_alone():
    frame = noise_free_frame()
    frame.loc[5:, "tokens"] *= 1.1
    holes = frame.assign(tokens=frame["tokens"].where(frame.index >= 5))
    found = built(holes, derive=("tokens",))
    np.testing.assert_allclose(found.frame["tokens"][5:], frame["tokens"][5:])
    assert any("in 5 of 48 rows" in flag for flag in found.flags)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (noise_free_frame(), "has tokens in every row"),
        (noise_free_frame().drop(columns=["tokens", "flops"]), "lacks the column tokens"),
        (noise_free_frame().drop(columns="flops"), "has no column flops, which --derive=tokens needs"),
    ],
)
def test_a_derivation_that_cannot_be_made_is_refused(frame, message):
    with pytest.raises(TableError, match=message):
        built(frame, derive=("tokens",))


def test_unique_tokens_give_epochs_and_both_are_in_the_table():
    frame = noise_free_frame()
    found = built(frame.assign(unique_tokens=frame["tokens"] / 4))
    np.testing.assert_allclose(found.frame["epochs"], 4.0)
    np.testing.assert_allclose(found.frame["unique_tokens"], frame["tokens"] / 4)
    assert any("48 runs saw their data more than once" in flag for flag in found.flags)


def test_downstream_columns_are_kept_as_numbers():
    found = built(noise_free_frame().assign(num_correct="30", trials=120, accuracy=0.25))
    assert found.frame[["correct", "trials", "accuracy"]].drop_duplicates().to_numpy().tolist() == [[30.0, 120.0, 0.25]]


def test_a_raw_frame_that_was_written_and_renamed_is_read_again():
    """It has our own names beside those of the conventions."""
    raw = sources.from_frame(noise_free_frame().assign(lr=1.0))
    again = raw.assign(params=raw["params_total"], loss=raw["loss_as_given"], flops=raw["flops_as_given"])
    np.testing.assert_array_equal(built(again).frame["loss"], noise_free_frame()["loss"])


def test_two_columns_of_one_name_are_refused():
    frame = noise_free_frame()
    with pytest.raises(TableError, match=r"runs\.csv has several columns 'loss'"):
        built(pd.concat([frame, frame[["loss"]]], axis=1))
