"""The flags of reading, as a shell hands them over."""

import pytest
from absl import flags
from absl.testing import flagsaver

from analysis import runs_flags
from analysis.laws.errors import TableError
from tests.analysis.conftest import noise_free_frame


def parsed(*arguments: str):
    flags.FLAGS(["verb", "--runs=runs.csv", *arguments])
    return runs_flags.reading()


@pytest.fixture(autouse=True)
def restored():
    with flagsaver.flagsaver():
        yield


def test_columns_may_be_listed_or_repeated_and_hold_what_people_write():
    listed = parsed("--columns=params=Model Size,flops=Training FLOP,loss=eval/c4.en/loss, all", "--columns=tokens=D")
    assert listed.columns == {
        "params": "Model Size",
        "flops": "Training FLOP",
        "loss": "eval/c4.en/loss, all",
        "tokens": "D",
    }


def test_the_cluster_is_a_column_too():
    assert parsed("--cluster=run name").columns == {"cluster": "run name"}


def test_units_are_numbers_or_letters():
    assert parsed("--units=params=1e6,tokens=B").units == {"params": 1e6, "tokens": 1e9}


def test_conditions_are_listed_with_any_comparison():
    found = parsed("--where=dataset=rw,loss<=4.5,name!=a,b", "--where=params>1e7").where
    assert list(map(str, found)) == ["dataset=rw", "loss<=4.5", "name!=a,b", "params>1e7"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--columns=params", "--columns=params is no pair"),
        ("--columns=params=", "is no pair"),
        ("--columns=params=a,params=b", "--columns names params twice, 'a' and 'b'"),
        ("--units=params=many", "--units=params=many is not a positive number"),
        ("--units=params=-1", "is not a positive number"),
        ("--where=dataset", "holds no comparison"),
        ("--derive=loss", "--derive=loss is not known"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(argument, message):
    with pytest.raises(TableError, match=message):
        parsed(argument)


def test_a_table_is_read_as_the_flags_say(tmp_path):
    frame = noise_free_frame().rename(columns={"params": "Model Size"})
    frame.assign(loss=frame["loss"] / 0.6931471805599453).to_csv(tmp_path / "runs.csv", index=False)
    parsed(f"--runs={tmp_path / 'runs.csv'}", "--columns=params=Model Size", "--loss_unit=bits", "--held_out=row 1")
    found = runs_flags.load()
    assert len(found) == 47 and list(found.held_out["run_id"]) == ["row 1"]
    assert found.frame["loss"].iloc[0] == pytest.approx(frame["loss"][1], rel=1e-12)
    assert len(runs_flags.read()) == 48
