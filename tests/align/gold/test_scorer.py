"""Frozen reward models as gold rewards: their own scores, in whatever batches, read once, and bindable."""

import pathlib

import numpy as np
import pytest

from align.data.store import ExampleStore
from align.gold import scorer
from align.gold.scorer import FrozenScorer
from align.models import saving
from align.models.parents import ParentConfig, find
from align.models.policy import Policy
from align.models.scalar_head import sequence_scalars
from align.stages.reward import RewardStageConfig
from align.training.policy_meter import MeterConfig
from scaling import gin_files
from scaling.data.vocabularies import SymbolVocabulary
from scaling.errors import CheckpointError, ConfigError, DataError
from tests.align.accounting import wide_stages
from tests.align.stages import small_stages


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The run of a reward model over the wide policy, and its examples."""
    root = tmp_path_factory.mktemp("large")
    parent, examples = wide_stages.parent(root), wide_stages.examples(root, 2)
    run, _ = small_stages.run("reward", RewardStageConfig(parent, examples, wide_stages.training()), root / "runs")
    return str(run.path), examples


def rows(examples):
    """Twelve completions."""
    return ExampleStore.open(examples.store).split("train").sequences(np.arange(6), examples.length)


def test_scores_are_the_models_normalised_ones_whatever_the_batch(large):
    """Against head and normalisation read from the run itself; twelve rows do not divide into batches of eight."""
    path, examples = large
    parent = find(ParentConfig(path))
    head, normaliser = saving.load_head(parent.path)
    policy = Policy.of(parent, wide_stages.training(), 12)
    sequences = rows(examples)
    raw = sequence_scalars(policy.model, policy.place(parent.parameters()), head, sequences)
    expected = np.asarray(raw) * normaliser["gain"] + normaliser["offset"]
    for batch_size in (8, 64):
        scores = FrozenScorer(path, batch_size).score(sequences, small_stages.VOCABULARY)
        assert scores.dtype == np.float64
        np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)
    before = scorer._loaded.cache_info()
    FrozenScorer(path).score(sequences, small_stages.VOCABULARY)
    after = scorer._loaded.cache_info()
    assert after.misses == before.misses and after.hits == before.hits + 1, "the model is read once"


def test_a_frozen_scorer_is_named_by_its_run_and_survives_as_data(large):
    path, _ = large
    gold = FrozenScorer(path)
    assert gold.identity == pathlib.Path(path).name
    meter = MeterConfig(prompts="none", gold=gold)
    assert gin_files.checked(meter) == meter


def test_bad_scorers_are_refused(large, tmp_path):
    path, examples = large
    with pytest.raises(DataError, match="another vocabulary"):
        FrozenScorer(path).score(rows(examples), SymbolVocabulary(9))
    with pytest.raises(CheckpointError, match="does not exist"):
        _ = FrozenScorer(str(tmp_path / "none")).identity
    with pytest.raises(ConfigError, match="batch_size"):
        FrozenScorer(path, batch_size=0)
