"""Every kind of stage by name: its configuration, its identity, how it runs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from align.stages import best_of_n, ppo, preference, reward, supervised
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference_config import PreferenceStageConfig
from align.training.loop import run_stage
from align.training.stage import Stage
from align.training.stage_directory import StageDirectory, StageSpec
from scaling.run_directory import Status
from scaling.training.interruption import Interruption


class StageKind(NamedTuple):
    """One kind.

    Attributes:
      config: the dataclass that Gin binds.
      spec: from a configuration and a name to the stage's identity.
      run: takes a frozen directory to its record.
    """

    config: type
    spec: Callable[[Any, str], StageSpec]
    run: Callable[[StageDirectory, Any, Interruption], Status]


def _looped(
    build: Callable[[Any], Stage], directory: StageDirectory, config: Any, interruption: Interruption
) -> Status:
    return run_stage(directory, functools.partial(build, config), interruption, config.training)


KINDS = {
    "sft": StageKind(supervised.SupervisedConfig, supervised.spec, functools.partial(_looped, supervised.Supervised)),
    "reward": StageKind(reward.RewardStageConfig, reward.spec, functools.partial(_looped, reward.RewardStage)),
    "preference": StageKind(
        PreferenceStageConfig, preference.spec, functools.partial(_looped, preference.PreferenceStage)
    ),
    "ppo": StageKind(PpoStageConfig, ppo.spec, functools.partial(_looped, ppo.PpoStage)),
    "best_of_n": StageKind(best_of_n.BestOfNConfig, best_of_n.spec, best_of_n.run),
}
