"""The ladder of Porian et al. 2024 from their points, and what a ladder asks of a table."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.laws.accounting import ladder
from analysis.laws.errors import TableError
from analysis.laws.optima import akima, seed_noise
from analysis.laws.result import NotFitted
from tests.analysis.conftest import noise_free_frame

PUBLISHED = {
    "rw": (0.8353, 0.7065, 0.6020, 0.5715, 0.4969),
    "owt2": (0.8635, 0.6985, 0.6032, 0.5743, 0.5185),
}


@pytest.mark.parametrize(("dataset", "deviation"), [("rw", 0.002), ("owt2", 0.01)])
def test_the_published_ladder_is_climbed(shared_data, dataset, deviation):
    """Kaplan's exponent to Chinchilla's in four switches: every rung within 0.011, every step down, as published."""
    points = pd.read_csv(shared_data / "porian2024" / "isoflop_points.csv").rename(columns={"n": "params"})
    points = points[(points["dataset"] == dataset) & points["table"].isin(["summary_df", "summary_df_owt2"])]
    rng, noise = np.random.default_rng(0), seed_noise.SeedNoise.constant(deviation)
    rungs = ladder.climb(
        points.drop(columns="table"), ladder.KAPLAN_AS_REPRODUCED, ladder.PORIAN_SWITCHES, akima.fit,
        lambda runs: seed_noise.draw(runs, noise, 400, rng),
    )  # fmt: skip
    exponents = [rung.a.value for rung in rungs]
    assert exponents == pytest.approx(PUBLISHED[dataset], abs=0.011)
    assert [rung.moved is None for rung in rungs] == [True, False, False, False, False]
    for below, rung in zip(rungs[:-1], rungs[1:], strict=True):
        assert rung.moved.value == pytest.approx(rung.a.value - below.a.value)
        assert rung.moved.interval[0] < rung.moved.value < rung.moved.interval[1]
        # Rungs are independent: the variance of a movement is the sum of theirs.
        spread = np.hypot(np.std(rung.law.replicates[:, 1]), np.std(below.law.replicates[:, 1]))
        assert np.ptp(rung.moved.interval) == pytest.approx(3.29 * spread, rel=0.25)
    counting, warm_up = rungs[1].moved, rungs[2].moved
    assert counting.interval[1] < 0 and warm_up.interval[1] < 0
    assert rungs[-1].factors == {
        "param_count": "standard", "val": "val", "warmup": "short", "decay": "const", "hparams": "tuned"
    }  # fmt: skip
    entry = rungs[1].to_json()
    assert entry["name"] == "last-layer FLOPs" and entry["moved"]["value"] == pytest.approx(counting.value)


@pytest.fixture
def two_recipes():
    """An exact sweep, and the same with compute counted double, so that k_N moves and a does not."""
    frame = noise_free_frame()
    other = frame.assign(flops=2 * frame["flops"], counted="double")
    return pd.concat([frame.assign(counted="once"), other], ignore_index=True)


def test_a_switch_that_only_scales_compute_moves_no_exponent(two_recipes):
    rungs = ladder.climb(two_recipes, {"counted": "once"}, [ladder.Switch("double", {"counted": "double"})], akima.fit)
    assert rungs[1].moved.value == pytest.approx(0, abs=1e-9) and rungs[1].moved.interval is None
    assert rungs[1].runs == rungs[0].runs == len(two_recipes) // 2
    moved = rungs[1].law.parameters["k_N"].value / rungs[0].law.parameters["k_N"].value
    assert moved == pytest.approx(2 ** -rungs[0].a.value)


def test_what_a_table_lacks_is_named(two_recipes):
    start = {"counted": "once"}
    with pytest.raises(TableError, match="has no column warmup"):
        ladder.climb(two_recipes, start | {"warmup": "long"}, [], akima.fit)
    with pytest.raises(TableError, match="no row has counted = thrice.*choose one of double, once"):
        ladder.climb(two_recipes, start, [ladder.Switch("thrice", {"counted": "thrice"})], akima.fit)
    tuned = two_recipes.assign(tuned=np.where(two_recipes["counted"] == "once", "no", "yes"))
    with pytest.raises(TableError, match="no row has counted = once, tuned = yes together"):
        ladder.rows_with(tuned, {"counted": "once", "tuned": "yes"})


def test_a_rung_that_cannot_be_fitted_has_its_reason_and_the_next_is_held_against_the_last_that_could(two_recipes):
    edges = two_recipes.groupby(["counted", "flops"])["params"].rank() <= 3
    frame = pd.concat([two_recipes, two_recipes[edges & (two_recipes["counted"] == "once")].assign(counted="edges")])
    switches = [ladder.Switch("edges", {"counted": "edges"}), ladder.Switch("double", {"counted": "double"})]
    rungs = ladder.climb(frame.reset_index(drop=True), {"counted": "once"}, switches, akima.fit)
    assert isinstance(rungs[1].law, NotFitted) and rungs[1].a is None and rungs[1].moved is None
    assert rungs[1].to_json()["a"] is None and "not fitted" in rungs[1].to_json()["law"]["flags"][0]
    assert rungs[2].moved.value == pytest.approx(0, abs=1e-9)


def test_unequal_replicates_give_no_interval(two_recipes):
    law = ladder.climb(two_recipes, {"counted": "once"}, [], akima.fit)[0].law
    fewer = dataclasses.replace(law, replicates=np.zeros((30, len(law.theta))))
    assert ladder.movement(fewer, law).interval is None
