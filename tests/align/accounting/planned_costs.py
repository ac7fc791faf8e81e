"""Plans stages over shapes on eight simulated devices, for test_stage_cost.py: prints JSON."""

import dataclasses
import json

from align.accounting import planned_stages, stage_cost
from align.losses.preference.config import PreferenceConfig
from align.models.parents import ParentConfig
from align.models.reward_models import RewardModelsConfig
from align.stage_config import ExamplesConfig, TrainingConfig
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.supervised import SupervisedConfig
from scaling.accounting import compiled
from scaling.data.config import DataConfig
from scaling.models import ladder
from scaling.optim.config import OptimizerConfig, ScheduleConfig
from scaling.run_config import ExecutionConfig, RunConfig

MODEL = dataclasses.replace(ladder.llama(128, 512, 256), depth=3)
MESH = ExecutionConfig(data=2, fsdp=2, tensor=2, layers="scan", remat="full")
OPTIMIZER = OptimizerConfig(weight_decay=0.0)


def stages():
    """Every kind by name, with what distinguishes its memory."""
    parent = ParentConfig("planned")
    data = ExamplesConfig("none", prompt_length=64, completion_length=64)
    training = TrainingConfig(batch_size=16, steps=1, execution=MESH, optimizer=OPTIMIZER)
    return {
        "sft": ("sft", SupervisedConfig(parent, data, training)),
        "reward": ("reward", RewardStageConfig(parent, data, training)),
        "live": ("preference", PreferenceStageConfig(parent, data, PreferenceConfig(), training=training)),
        "cached": (
            "preference",
            PreferenceStageConfig(parent, data, PreferenceConfig(), training=training, reference="cached"),
        ),
        "ppo": (
            "ppo",
            PpoStageConfig(parent, data, training, reward=RewardModelsConfig(("a", "b")), epochs=2, minibatches=2),
        ),
    }


class Once:
    """A lowered program that is compiled once, however often it is asked for."""

    def __init__(self, lowered):
        self._compiled = lowered.compile()

    def compile(self):
        return self._compiled


def costs() -> dict:
    """Bytes by use, and what XLA says of the arguments of every program."""
    found = {}
    for name, (kind, config) in stages().items():
        stage = planned_stages.planned(config, MODEL)
        stage = stage._replace(programs={program: Once(lowered) for program, lowered in stage.programs.items()})
        arguments = {
            program: once.compile().memory_analysis().argument_size_in_bytes for program, once in stage.programs.items()
        }
        found[name] = stage_cost.bytes_per_device(kind, config, MODEL, stage) | {"arguments": arguments}
    return found


def stage_one() -> dict:
    """`scaling.cost`'s figures for pretraining on as many rows of the same length."""
    run = RunConfig(
        model=MODEL,
        data=DataConfig(store="none", sequence_length=128),
        schedule=ScheduleConfig(),
        optimizer=OPTIMIZER,
        tokens=16 * 128,
        batch_size=16,
        execution=MESH,
    )
    return compiled.bytes_per_device(compiled.abstract_step(run))


if __name__ == "__main__":
    print(json.dumps({"stages": costs(), "stage one": stage_one()}))
