"""Losses are sums with counts of the whole batch: cutting it into micro-batches changes rounding and nothing else."""

import numpy as np
import pytest

from align.losses.preference.config import PreferenceConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.supervised import SupervisedConfig
from scaling.errors import ConfigError
from scaling.optim.config import OptimizerConfig
from scaling.run_config import ExecutionConfig
from tests.align.stages import small_stages

LOSSES = {
    "sigmoid": PreferenceConfig("sigmoid"),
    "kto": PreferenceConfig("kto"),
    "bco": PreferenceConfig("bco"),
    "cpo": PreferenceConfig("cpo", nll_weight=1.0, nll_reduction="tokens"),
}


def training(parts: int):
    # Adam's epsilon keeps updates proportional to gradients, so that rounding is not blown up where they are near 0.
    optimizer = OptimizerConfig(weight_decay=0.0, epsilon=1e-2)
    return small_stages.training(
        steps=2, batch_size=16, optimizer=optimizer, execution=ExecutionConfig(accumulation=parts)
    )


def configured(kind: str, laboratory, parts: int):
    if kind == "sft":
        return "sft", SupervisedConfig(
            laboratory.base, small_stages.data(laboratory.dialogues, validation_split=""), training(parts)
        )
    if kind == "reward":
        return "reward", RewardStageConfig(
            laboratory.policy, small_stages.data(laboratory.ranked, validation_split=""), training(parts)
        )
    data = small_stages.data(laboratory.pairs, validation_split="")
    return "preference", PreferenceStageConfig(laboratory.policy, data, LOSSES[kind], training(parts))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "reward", *LOSSES])
def test_one_and_four_micro_batches_give_the_same_updates(kind, laboratory, tmp_path):
    """Completions of these stores differ in length, so a mean of means would be another loss."""
    (whole, _), (cut, _) = (
        small_stages.run(*configured(kind, laboratory, parts), tmp_path / str(parts)) for parts in (1, 4)
    )
    assert whole.path.name == cut.path.name
    expected, found = (small_stages.final_parameters(run) for run in (whole, cut))
    assert small_stages.largest_difference(found, expected) < 2e-6
    before = small_stages.parameters_of(laboratory.base if kind == "sft" else laboratory.policy)
    assert small_stages.largest_difference(expected, before) > 1e-4
    for row, other in zip(whole.metrics(), cut.metrics(), strict=True):
        for name in ("loss", "gradient_norm"):
            np.testing.assert_allclose(other[name], row[name], rtol=2e-5, err_msg=name)


def test_losses_that_compare_the_pairs_of_a_batch_refuse_to_be_cut(laboratory):
    data = small_stages.data(laboratory.pairs)
    with pytest.raises(ConfigError, match="'aot' compares the pairs of a batch.*accumulation to 1"):
        PreferenceStageConfig(laboratory.policy, data, PreferenceConfig("aot"), training(4))
