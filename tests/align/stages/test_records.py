"""Records say what their stages cost, by every convention and apart: training, samples, measuring, preparation."""

import json
import pathlib

import numpy as np
import pytest

from align.stages.best_of_n import BY_PROMPT, BestOfNConfig
from align.stages.ppo_config import PpoStageConfig, ValueConfig
from align.stages.preference_config import PreferenceStageConfig
from scaling.accounting.flops import CONVENTIONS
from tests.align.stages import small_stages

FIELDS = ("flops", "flops_generation", "flops_measuring", "flops_preparation")


def spent(path) -> set[str]:
    """The fields of a record that are not 0; every one has every convention."""
    record = json.loads((pathlib.Path(path) / "record.json").read_text())
    for field in FIELDS:
        assert record[field].keys() == CONVENTIONS.keys()
    return {field for field in FIELDS if all(value > 0 for value in record[field].values())}


def test_fine_tunes_and_reward_models(laboratory):
    assert spent(laboratory.policy.path) == {"flops", "flops_measuring"}
    assert spent(laboratory.reward) == {"flops", "flops_measuring"}


def test_best_of_n_draws_and_scores(laboratory):
    config = BestOfNConfig(laboratory.policy, laboratory.meter(), sizes=(1, 2), training=small_stages.training())
    directory, _ = small_stages.run("best_of_n", config, laboratory.root)
    assert spent(directory.path) == {"flops_generation", "flops_measuring"}
    rows = [json.loads(line) for line in directory.measurements_file.read_text().splitlines()]
    by_prompt = json.loads((directory.path / BY_PROMPT).read_text())
    assert np.shape(by_prompt["gold"]) == (8, 2) and by_prompt["sizes"] == [1, 2] and rows[0]["kl"] == 0.0
    np.testing.assert_allclose(np.mean(by_prompt["gold"], axis=0), [row["gold"] for row in rows])


@pytest.mark.slow
def test_a_cached_reference_is_a_preparation(laboratory, tmp_path):
    config = PreferenceStageConfig(
        laboratory.policy,
        small_stages.data(laboratory.pairs),
        training=small_stages.training(steps=1),
        reference="cached",
        reference_cache=str(tmp_path),
    )
    directory, _ = small_stages.run("preference", config, tmp_path)
    assert spent(directory.path) == {"flops", "flops_measuring", "flops_preparation"}


@pytest.mark.slow
def test_rollouts_of_ppo_are_generation(laboratory, tmp_path):
    config = PpoStageConfig(
        laboratory.policy,
        small_stages.data(laboratory.pairs),
        small_stages.training(steps=1),
        gold=laboratory.gold,
        epochs=1,
        minibatches=2,
        value=ValueConfig(start="policy"),
    )
    directory, _ = small_stages.run("ppo", config, tmp_path)
    assert spent(directory.path) == {"flops", "flops_generation"}
