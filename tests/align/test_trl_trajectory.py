"""Twenty steps of DPO and of reward modelling take the path that TRL's own trainers take from the same weights.

Set PLUMBLINE_TRL_PYTHON to an interpreter that has trl 1.16 (`pip install trl==1.16.0`); it is not among our dependencies. A random Llama of width 32 is
written as a Hugging Face directory; both sides read the same ragged pairs in the same order and train in float32 with AdamW, clipping and a constant rate.
Whatever differed in the forward pass, the masks, the loss, the clipping or the optimiser would show, and grow from step to step.
"""

import json
import os
import pathlib
import subprocess

import jax
import numpy as np
import pytest

from align.data.batches import rows
from align.data.store import ExampleStore
from align.losses.preference.config import PreferenceConfig
from align.models import scalar_head
from align.models.log_probabilities import token_log_probs
from align.models.parents import ParentConfig
from align.sequences import Pairs, completion_mask
from align.stages.preference import PreferenceStage
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStage, RewardStageConfig
from scaling.data.manifested import VOCABULARY
from scaling.foreign import checkpointed, hugging_face
from scaling.models import ladder
from scaling.models.transformer import Transformer
from tests.align.stages import small_stages
from tests.scaling.foreign import small_weights

INTERPRETER = os.environ.get("PLUMBLINE_TRL_PYTHON", "")
ROOT = pathlib.Path(__file__).parents[2]
STEPS, PAIRS, BETA, RATE = 20, 8, 0.1, 1e-3
MOST = 2e-4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="PLUMBLINE_TRL_PYTHON names no interpreter with trl"),
]


class Laboratory:
    """The model, the pairs and what TRL made of them."""

    def __init__(self, root: pathlib.Path):
        vocabulary = small_stages.VOCABULARY
        self.config = ladder.llama(32, vocabulary.size, 64, kv_heads=1)
        weights = small_weights.random_weights(self.config)
        for name in ("model", "llama", "vocabulary_of_bytes"):
            (root / name).mkdir()
        hugging_face.write(root / "llama", weights)
        checkpointed.save(root / "model", weights, {"files": [{"sha256": "random weights"}]})
        vocabulary.save(root / "vocabulary_of_bytes" / VOCABULARY)
        self.parent = ParentConfig(str(root / "model"), vocabulary=str(root / "vocabulary_of_bytes"))
        store = small_stages.examples(root / "pairs", completions=2, count=64)
        self.data = small_stages.data(store, validation_split="")
        self.training = small_stages.training(batch_size=PAIRS, steps=STEPS, learning_rate=RATE)
        examples = ExampleStore.open(store).split("train")
        order = np.concatenate([rows(self.training.seed, step, PAIRS, len(examples)) for step in range(STEPS)])
        self.pairs: Pairs = examples.pairs(order, self.data.length)
        self.head = np.random.default_rng(1).normal(0, 32**-0.5, 32).astype(np.float32)
        self.theirs = self._trained_by_trl(root)

    def _trained_by_trl(self, root: pathlib.Path):
        chosen, rejected = self.pairs
        np.savez(
            root / "pairs.npz",
            prompt_lengths=chosen.prompt_lengths,
            chosen_tokens=chosen.tokens,
            chosen_lengths=chosen.lengths,
            rejected_tokens=rejected.tokens,
            rejected_lengths=rejected.lengths,
            head=self.head,
        )
        settings = {"per_device_train_batch_size": PAIRS, "max_steps": STEPS, "learning_rate": RATE, "beta": BETA}
        (root / "settings.json").write_text(json.dumps(settings))
        command = [INTERPRETER, "-m", "tests.align.trl_trajectory_peer", root]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return np.load(root / "trained.npz")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    return Laboratory(tmp_path_factory.mktemp("trl_trajectory"))


def trained(stage, state):
    """The losses of all steps, and the last state."""
    losses = []
    for step in range(STEPS):
        state, metrics = stage.step(state, step)
        losses.append(float(metrics["loss"]))
    return np.array(losses), state


def assert_same_path(losses, rewards, theirs, kind):
    assert losses.shape == theirs[f"{kind}_losses"].shape == (STEPS,)
    # It learns, or agreement would mean little.
    assert losses[-1] < 0.8 * losses[0]
    np.testing.assert_allclose(losses, theirs[f"{kind}_losses"], rtol=0, atol=MOST)
    np.testing.assert_allclose(rewards, theirs[f"{kind}_rewards"], rtol=0, atol=MOST)


@pytest.mark.parametrize("reference", ["live", "cached"])
def test_twenty_steps_of_dpo(laboratory, tmp_path, reference):
    config = PreferenceStageConfig(
        laboratory.parent,
        laboratory.data,
        PreferenceConfig("sigmoid", BETA),
        laboratory.training,
        reference=reference,
        reference_cache=str(tmp_path),
    )
    stage = PreferenceStage(config)
    start = jax.device_get(stage.initial_state().trained)
    losses, state = trained(stage, stage.initial_state())
    model = Transformer(laboratory.config)

    def sums(parameters, side):
        return np.sum(token_log_probs(model, parameters, side) * completion_mask(side), axis=1)

    rewards = [BETA * (sums(state.trained, side) - sums(start, side)) for side in laboratory.pairs]
    assert_same_path(losses, np.stack(rewards), laboratory.theirs, "dpo")


def test_twenty_steps_of_a_reward_model(laboratory):
    stage = RewardStage(RewardStageConfig(laboratory.parent, laboratory.data, laboratory.training))
    state = stage.initial_state()
    head = {"kernel": jax.device_put(laboratory.head, state.trained["head"]["kernel"].sharding)}
    state = state._replace(trained=state.trained | {"head": state.trained["head"] | head})
    losses, state = trained(stage, state)
    model, (trunk, head) = Transformer(laboratory.config), (state.trained["trunk"], state.trained["head"])
    rewards = [scalar_head.sequence_scalars(model, trunk, head, side) for side in laboratory.pairs]
    assert_same_path(losses, np.stack(rewards), laboratory.theirs, "reward")
