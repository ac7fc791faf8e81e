"""A larger reward model labels, a smaller one learns from its labels and is the proxy, and the policy is measured by both (Gao et al. 2023)."""

import json

import numpy as np
import pytest

from align.data.store import ExampleStore
from align.gold.scorer import FrozenScorer
from align.models.reward_models import RewardModelsConfig
from align.stages.best_of_n import BestOfNConfig
from align.stages.collecting import CollectConfig, collect
from align.stages.reward import RewardStageConfig
from scaling.training.interruption import Interruption
from tests.align.accounting import wide_stages
from tests.align.stages import small_stages


@pytest.mark.slow
def test_from_labels_to_a_curve(laboratory, tmp_path):
    parent = wide_stages.parent(tmp_path)
    config = RewardStageConfig(parent, small_stages.data(laboratory.pairs), small_stages.training(learning_rate=1e-3))
    large, _ = small_stages.run("reward", config, tmp_path)
    gold = FrozenScorer(str(large.path))
    meter = laboratory.meter(gold=gold, split="train", num_prompts=32, samples_per_prompt=4, batch_size=64)
    store = collect(
        CollectConfig(laboratory.policy, str(tmp_path / "pairs"), meter, pairs_per_prompt=2), Interruption()
    )
    examples = ExampleStore.open(store.path).split("train")
    for side in (0, 1):
        completions = np.arange(len(examples)) * 2 + side
        rows = examples.sequences(np.arange(len(examples)), small_stages.PROMPT + small_stages.COMPLETION)
        scores = gold.score(type(rows)(*(array[completions] for array in rows)), small_stages.VOCABULARY)
        np.testing.assert_allclose(scores, np.asarray(examples.scores)[:, side], atol=1e-4)
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
