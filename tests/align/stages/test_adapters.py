"""LoRA in every stage that offers it: only the adapter is trained, the reference is the policy without it, the saved model is the merged one."""

import numpy as np
import pytest

from align.models import lora
from align.models.lora import LoraConfig
from align.models.parents import find
from align.stages.ppo_config import PpoStageConfig, ValueConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.supervised import SupervisedConfig
from scaling.models.parameters import nested
from tests.align.stages import small_stages

LORA = LoraConfig(rank=2)


def configured(kind: str, laboratory):
    training = small_stages.training(steps=3)
    data = small_stages.data(laboratory.pairs, validation_split="")
    meter = laboratory.meter()
    if kind == "sft":
        dialogues = small_stages.data(laboratory.dialogues, validation_split="")
        return SupervisedConfig(laboratory.policy, dialogues, training, LORA)
    if kind == "preference":
        return PreferenceStageConfig(laboratory.policy, data, training=training, meter=meter, lora=LORA)
    return PpoStageConfig(
        laboratory.policy, data, training, meter, gold=laboratory.gold, lora=LORA, epochs=1, minibatches=2,
        value=ValueConfig(start="policy"),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "preference", "ppo"])
def test_only_the_adapter_is_trained_and_the_merged_model_is_saved(kind, laboratory, tmp_path):
    run, _ = small_stages.run(kind, configured(kind, laboratory), tmp_path)
    config, before = find(laboratory.policy).config, small_stages.parameters_of(laboratory.policy)
    after, adapted = small_stages.final_parameters(run), lora.adapted_kernels(config, LORA)
    changed = {path for path, value in before.items() if not np.array_equal(after[path], value)}
    assert changed == set(adapted)
    # The checkpoint's policy is the adapter and nothing else, and merging it gives the model that was written.
    head = "['trained']['policy']" if kind == "ppo" else "['trained']"
    trained = {
        name.removeprefix(head).strip("[']").replace("']['", "/"): value
        for name, value in small_stages.final_state(run).items()
        if name.startswith(head)
    }
    assert trained.keys() == {f"{path}/{factor}" for path in adapted for factor in "ab"}
    merged = lora.merged(nested(before), nested(trained), config, LORA)
    for path in adapted:
        node = merged
        for name in path.split("/"):
            node = node[name]
        np.testing.assert_allclose(after[path], node, atol=1e-6, err_msg=path)
    if kind != "sft":
        first, *_, last = [row["policy"] for row in run.metrics() if "policy" in row]
        # Before the first step the policy is the reference to the last bit.
        assert first["kl"] == first["kl_error"] == first["kl_k3"] == 0
        assert last["kl_k3"] > 0
