"""Frozen reward models as gold rewards: their own scores in whatever batches, read once, and a laboratory in which a large one labels for a small one."""

import json
import pathlib

import jax
import numpy as np
import pytest

from align.data.store import ExampleStore
from align.gold import scorer
from align.gold.scorer import FrozenScorer
from align.models import saving
from align.models.parents import ParentConfig, find
from align.models.policy import Policy
from align.models.reward_models import RewardModelsConfig
from align.models.scalar_head import sequence_scalars
from align.stages.best_of_n import BestOfNConfig
from align.stages.collecting import CollectConfig, collect
from align.stages.reward import RewardStageConfig
from scaling import gin_files
from scaling.data.vocabularies import SymbolVocabulary
from scaling.errors import CheckpointError, ConfigError, DataError
from scaling.training.interruption import Interruption
from tests.align.accounting import wide_stages
from tests.align.stages import small_stages

LENGTH = small_stages.PROMPT + small_stages.COMPLETION


def rows(store: str, count: int):
    """Completions of so many pairs."""
    return ExampleStore.open(store).split("train").sequences(np.arange(count), LENGTH)


@pytest.mark.slow
def test_scores_are_the_models_normalised_ones_whatever_the_batch(laboratory):
    """Against head and normalisation read from the run itself; twelve rows do not divide into batches of eight."""
    parent = find(ParentConfig(laboratory.reward))
    head, normaliser = saving.load_head(parent.path)
    policy = Policy.of(parent, small_stages.training(), 12)
    sequences = rows(laboratory.pairs, 6)
    raw = jax.jit(sequence_scalars, static_argnums=0)(policy.model, policy.place(parent.parameters()), head, sequences)
    expected = np.asarray(raw) * normaliser["gain"] + normaliser["offset"]
    gold = FrozenScorer(laboratory.reward, batch_size=8)
    scores = gold.score(sequences, small_stages.VOCABULARY)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)
    before = scorer._loaded.cache_info()
    FrozenScorer(laboratory.reward, batch_size=8).score(sequences, small_stages.VOCABULARY)
    after = scorer._loaded.cache_info()
    assert after.misses == before.misses and after.hits == before.hits + 1, "the model is read once"


def test_a_frozen_scorer_is_named_by_its_run_and_survives_as_data(laboratory):
    gold = FrozenScorer(laboratory.reward)
    assert gold.identity == pathlib.Path(laboratory.reward).name
    meter = laboratory.meter(gold=gold)
    assert gin_files.checked(meter) == meter


def test_bad_scorers_are_refused(laboratory, tmp_path):
    with pytest.raises(DataError, match="another vocabulary"):
        FrozenScorer(laboratory.reward).score(rows(laboratory.pairs, 1), SymbolVocabulary(9))
    with pytest.raises(CheckpointError, match="is no reward model"):
        FrozenScorer(laboratory.policy.path).score(rows(laboratory.pairs, 1), small_stages.VOCABULARY)
    with pytest.raises(CheckpointError, match="does not exist"):
        _ = FrozenScorer(str(tmp_path / "none")).identity
    with pytest.raises(ConfigError, match="batch_size"):
        FrozenScorer(laboratory.reward, batch_size=0)


@pytest.mark.slow
def test_from_labels_to_a_curve(laboratory, tmp_path):
    """A larger reward model labels, a smaller one learns from its labels and is the proxy, and the policy is measured by both (Gao et al. 2023)."""
    parent = wide_stages.parent(tmp_path)
    config = RewardStageConfig(parent, small_stages.data(laboratory.pairs), small_stages.training(learning_rate=1e-3))
    large, _ = small_stages.run("reward", config, tmp_path)
    gold = FrozenScorer(str(large.path))
    meter = laboratory.meter(gold=gold, split="train", num_prompts=32, samples_per_prompt=4, batch_size=64)
    store = collect(
        CollectConfig(laboratory.policy, str(tmp_path / "pairs"), meter, pairs_per_prompt=2), Interruption()
    )
    examples = ExampleStore.open(store.path).split("train")
    scores = gold.score(examples.sequences(np.arange(len(examples)), LENGTH), small_stages.VOCABULARY)
    np.testing.assert_allclose(scores.reshape(-1, 2), examples.scores, atol=1e-4)
    assert np.all(examples.scores[:, 0] >= examples.scores[:, 1])

    data = small_stages.data(str(store.path), validation_split="")
    small, _ = small_stages.run("reward", RewardStageConfig(laboratory.policy, data, small_stages.training()), tmp_path)
    sizes = [json.loads((run.path / "record.json").read_text())["parameters"]["total"] for run in (small, large)]
    assert sizes[0] < sizes[1] / 10
    curve, _ = small_stages.run(
        "best_of_n",
        BestOfNConfig(
            laboratory.policy,
            laboratory.meter(gold=gold, proxy=RewardModelsConfig((str(small.path),)), samples_per_prompt=4),
            sizes=(1, 4),
            training=small_stages.training(),
        ),
        tmp_path,
    )
    record = json.loads((curve.path / "record.json").read_text())
    assert record["gold"] == gold.name and record["data"]["gold"] == gold.identity
    first, last = [json.loads(line) for line in curve.measurements_file.read_text().splitlines()]
    assert last["proxy"] > first["proxy"], "choosing by the proxy raises it"
    assert last["gold"] != first["gold"]
