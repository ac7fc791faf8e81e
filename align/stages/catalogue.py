"""Every kind of stage by name: its configuration, its identity, its programs."""

from collections.abc import Callable
from typing import Any, NamedTuple

from align.stages import ppo, preference, reward, supervised
from align.stages.ppo_config import PpoStageConfig
from align.training.stage import Stage
from align.training.stage_directory import StageSpec


class StageKind(NamedTuple):
    """One kind.

    Attributes:
      config: the dataclass that Gin binds.
      spec: from a configuration and a name to the stage's identity.
      build: from a configuration to the stage.
    """

    config: type
    spec: Callable[[Any, str], StageSpec]
    build: Callable[[Any], Stage]


KINDS = {
    "sft": StageKind(supervised.SupervisedConfig, supervised.spec, supervised.Supervised),
    "reward": StageKind(reward.RewardStageConfig, reward.spec, reward.RewardStage),
    "preference": StageKind(preference.PreferenceStageConfig, preference.spec, preference.PreferenceStage),
    "ppo": StageKind(PpoStageConfig, ppo.spec, ppo.PpoStage),
}
