"""What counts as a repetition, what the replicates say of the noise, and whether the law fits within it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.laws import parametric, study
from analysis.laws.intervals import noise
from analysis.laws.tables import sources, table
from tests.analysis.conftest import noise_free_frame
from tests.analysis.laws.intervals.test_uncertainty import ladder_table


def repeated(**columns) -> table.RunsTable:
    """An exact grid whose first point is there three times, with the given columns of those three."""
    frame = noise_free_frame().assign(seed=0.0)
    again = pd.concat([frame.iloc[:1]] * 2).assign(seed=[1.0, 2.0])
    again["loss"] *= [1.01, 0.99]
    frame = pd.concat([frame, again], ignore_index=True)
    three = [0, len(frame) - 2, len(frame) - 1]
    for name, values in columns.items():
        if name not in frame.columns:
            frame[name] = values[0]
        frame.loc[three, name] = values
    return table.build(sources.from_frame(frame))


def test_runs_that_differ_in_their_seed_alone_are_replicates():
    value, dof = noise.replicate_noise(repeated())
    assert dof == 2
    assert value == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(
    ("columns", "dof"),
    [
        ({"learning_rate": [0.01, 0.02, 0.04]}, 0),
        ({"learning_rate": [0.01, 0.01, 0.02]}, 1),
        ({"schedule": ["wsd", "cosine", "linear"]}, 0),
        ({"batch_tokens": [512, 1024, 2048]}, 0),
        ({"family": ["llama", "gpt", "other"]}, 0),
        ({"seed": [0, 0, 0]}, 0),
        ({"seed": [0, 0, 1]}, 1),
        ({"seed": [np.nan, np.nan, np.nan]}, 2),
        ({"seed": [np.nan, np.nan, np.nan], "cluster": ["one", "one", "one"]}, 0),
    ],
)
def test_other_recipes_and_equal_seeds_are_no_replicates(columns, dof):
    """A sweep of learning rates at one point shows what the learning rate does, and not the noise of a run."""
    assert noise.replicate_noise(repeated(**columns))[1] == dof


def test_tables_without_the_recipe_still_find_replicates():
    runs = repeated()
    bare = dataclasses.replace(runs, frame=runs.frame.drop(columns=["schedule", "learning_rate", "batch_tokens"]))
    assert noise.replicate_noise(bare)[1] == 2
    assert noise.mixtures(bare) == ()


@pytest.mark.slow
def test_a_table_that_mixes_schedules_is_flagged(ladder):
    frame = ladder.frame.assign(schedule=["cosine", *["wsd"] * (len(ladder) - 1)])
    mixed = study.fit_all(dataclasses.replace(ladder, frame=frame), study.Options(bootstrap=0))
    assert any("mixes the schedules cosine, wsd" in flag for flag in mixed.table.flags)
    assert noise.mixtures(ladder) == ()


def bent(runs: table.RunsTable) -> table.RunsTable:
    """The same runs with a wave over the logarithm of N that the law has no term for."""
    raw = runs.raw.copy()
    raw["loss_validation"] *= np.exp(0.04 * np.sin(3 * np.log(raw["params_total"])))
    return table.build(raw)


@pytest.mark.slow
def test_lack_of_fit_is_seen_where_the_law_is_wrong_and_not_where_it_is_right():
    """Its residuals alone cannot show it (they are what the noise is estimated from); the replicates can."""
    runs = ladder_table(0, noise=0.003)
    right, wrong = (study.fit_all(item, study.Options(bootstrap=0)) for item in (runs, bent(runs)))
    assert wrong.noise.lack_of_fit.p < 0.01 < right.noise.lack_of_fit.p
    assert wrong.noise.lack_of_fit.error_dof == 4
    assert any("the form does not fit: its residuals are larger than runs" in flag for flag in wrong.parametric.flags)
    assert not any("the form does not fit" in flag for flag in right.parametric.flags)
    for item in (right, wrong):
        assert f"lack of fit {item.noise.lack_of_fit.in_words}" in item.noise.explanation
        assert item.to_json()["noise"]["lack_of_fit"]["p"] == item.noise.lack_of_fit.p


@pytest.mark.slow
def test_lack_of_fit_has_its_level():
    """Twenty right laws: at 10% two are expected and six are the 99.8th percentile."""
    tests = []
    for seed in range(20):
        runs = ladder_table(seed, noise=0.005, between=0.5)
        tests.append(noise.estimate(runs, parametric.fit(runs).details["residual"], 5).lack_of_fit)
    assert sum(item.p < 0.1 for item in tests) <= 6
    assert sum(item.p < 0.5 for item in tests) >= 4


def test_lack_of_fit_needs_replicates(exact):
    found = noise.estimate(exact, np.full(len(exact), 1e-3), 5)
    assert found.lack_of_fit is None and found.flags == ()
    assert "lack of fit cannot be tested with 0 degrees of freedom" in found.explanation
    assert found.to_json()["lack_of_fit"] is None
