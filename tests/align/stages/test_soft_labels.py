"""Soft labels of a preference stage are the Bradley-Terry probabilities of its store's gold scores, and are refused where there are none."""

import dataclasses

import numpy as np
import pytest
from scipy import special

from align.data import store_writer
from align.data.examples import TokenExample
from align.data.store import ExampleStore
from align.losses.preference.config import PreferenceConfig, PreferenceMixture
from align.stages import data
from align.stages.preference import PreferenceStage
from align.stages.preference_config import PreferenceStageConfig
from scaling.errors import ConfigError, DataError
from tests.align.stages import small_stages

VOCABULARY = small_stages.VOCABULARY


def store(path, scores) -> str:
    """Pairs of the same two texts with given gold scores."""
    sides = tuple(np.append(VOCABULARY.encode(text), VOCABULARY.eos_id) for text in ("good", "bad"))
    with store_writer.writing(path, VOCABULARY, 2) as writer:
        prompt = VOCABULARY.encode("a film")
        writer.write_split("train", (TokenExample(f"pair {n}", prompt, sides, pair) for n, pair in enumerate(scores)))
        writer.finish({})
    return str(path)


def config(laboratory, path, **fields) -> PreferenceStageConfig:
    examples = small_stages.data(path, validation_split="")
    fields = dict(loss=PreferenceConfig(beta=0.7), training=small_stages.training(batch_size=4, steps=1)) | fields
    return PreferenceStageConfig(laboratory.policy, examples, **fields)


def loss_of_first_step(config: PreferenceStageConfig) -> float:
    stage = PreferenceStage(config)
    return float(stage.step(stage.initial_state(), 0)[1]["loss"])


def test_probabilities_are_those_of_the_gold_scores(tmp_path):
    scores = [(1.0, 0.0), (0.0, 2.0), (3.0, 3.0)]
    examples = ExampleStore.open(store(tmp_path / "pairs", scores)).split("train")
    found = data.soft_labels(examples, np.array([2, 0, 1]), 0.5)
    np.testing.assert_allclose(found, special.expit([0.0, 2.0, -4.0]), rtol=1e-6)
    assert data.soft_labels(examples, np.array([0]), 0.0) is None


def test_they_are_what_the_stage_learns_from(laboratory, tmp_path):
    """One step from another policy than the reference: the soft loss is the mean of the hard losses of both orders, weighed by the probabilities."""
    one, other = (store(tmp_path / name, [pair] * 4) for name, pair in (("one", (1.0, 0.0)), ("other", (0.0, 1.0))))
    # SimPO reads no reference, so that the margin is not 0 at the first step.
    base = config(laboratory, one, loss=PreferenceConfig("simpo", beta=2.0, gamma=0.0))
    hard = loss_of_first_step(base)
    margin = -np.log(np.expm1(hard))  # The loss is log(1 + exp(-margin)).
    flipped = np.logaddexp(0.0, margin)
    for path, score in ((one, 1.0), (other, -1.0)):
        data_config = dataclasses.replace(base.data, store=path)
        soft = loss_of_first_step(dataclasses.replace(base, data=data_config, soft_labels=0.5))
        probability = special.expit(score / 0.5)
        assert soft == pytest.approx(probability * hard + (1 - probability) * flipped, rel=1e-4)


def test_pairs_without_scores_are_refused_before_the_first_step(laboratory, tmp_path):
    path = store(tmp_path / "pairs", [(1.0, 0.0), (np.nan, np.nan), (0.0, np.nan), (1.0, 0.0)])
    with pytest.raises(DataError, match=r"2 of 4 pairs have no gold scores, such as pair 1"):
        PreferenceStage(config(laboratory, path, soft_labels=1.0))


def test_losses_of_certain_labels_and_negative_temperatures_are_refused(laboratory):
    with pytest.raises(ConfigError, match="soft_labels is 1.0 for the loss ipo"):
        config(laboratory, "pairs", loss=PreferenceConfig("ipo"), soft_labels=1.0)
    mixed = PreferenceMixture((PreferenceConfig(), PreferenceConfig("preferred_ft")), (1.0, 1.0))
    with pytest.raises(ConfigError, match="preferred_ft"):
        config(laboratory, "pairs", loss=mixed, soft_labels=1.0)
    with pytest.raises(ConfigError, match="soft_labels is -1.0"):
        config(laboratory, "pairs", soft_labels=-1.0)
