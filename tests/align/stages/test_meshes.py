"""Every stage on eight simulated devices (data 2, fsdp 2, tensor 2) computes what one device computes."""

import pickle

import numpy as np
import pytest

from align.gold.token_programs import TokenCount
from align.models.parents import ParentConfig
from align.stages.ppo_config import PpoStageConfig, ValueConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.supervised import SupervisedConfig
from align.training.stage_directory import StageDirectory
from scaling.optim.config import OptimizerConfig
from scaling.run_config import ExecutionConfig
from tests import simulated_devices
from tests.align.stages import small_stages
from tests.scaling.byte_stores import write_byte_store
from tests.scaling.training import mesh_runs, small_runs
from tests.scaling.training.test_meshes import PaddedByteVocabulary


def stages(parent: ParentConfig, laboratory, mesh: tuple[int, int, int]):
    data, fsdp, tensor = mesh
    # Adam's epsilon keeps updates proportional to gradients, so that rounding is not blown up where they are near 0.
    training = small_stages.training(
        steps=1, optimizer=OptimizerConfig(weight_decay=0.0, epsilon=1e-2),
        execution=ExecutionConfig(data=data, fsdp=fsdp, tensor=tensor),
    )  # fmt: skip
    dialogues, pairs, ranked = (
        small_stages.data(store, validation_split="")
        for store in (laboratory.dialogues, laboratory.pairs, laboratory.ranked)
    )
    ppo = PpoStageConfig(
        parent, pairs, training, epochs=1, minibatches=1, value=ValueConfig(start="policy"),
        gold=TokenCount(tokens=tuple(range(100, 110))),
    )  # fmt: skip
    return [
        ("sft", SupervisedConfig(parent, dialogues, training)),
        ("reward", RewardStageConfig(parent, ranked, training)),
        ("preference", PreferenceStageConfig(parent, pairs, training=training)),
        ("ppo", ppo),
    ]


@pytest.mark.slow
def test_a_step_of_every_stage_is_that_of_one_device(laboratory, tmp_path):
    store = write_byte_store(tmp_path / "store", 40_000, PaddedByteVocabulary())
    parent_run = small_runs.train(tmp_path / "parents", mesh_runs.config(store, (1, 1, 1)))[0]
    parent = ParentConfig(str(parent_run.path))
    (tmp_path / "stages.pickle").write_bytes(pickle.dumps(stages(parent, laboratory, (2, 2, 2))))
    simulated_devices.output_of("-m", "tests.align.stages.mesh_stages", tmp_path / "stages.pickle", tmp_path / "mesh")
    for kind, config in stages(parent, laboratory, (1, 1, 1)):
        alone, _ = small_stages.run(kind, config, tmp_path / "alone")
        split = StageDirectory(tmp_path / "mesh" / alone.path.name)
        for name in ("loss", "gradient_norm"):
            np.testing.assert_allclose(
                split.metrics()[-1][name], alone.metrics()[-1][name], rtol=1e-4, atol=1e-6, err_msg=f"{kind} {name}"
            )
        expected, found = (small_stages.final_parameters(run) for run in (alone, split))
        assert small_stages.largest_difference(found, expected) < 5e-6, kind
        assert small_stages.largest_difference(expected, small_stages.parameters_of(parent)) > 1e-5, kind
