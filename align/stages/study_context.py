"""How a study's stages find the models and stores that the study itself makes."""

import dataclasses
import pathlib
from typing import Any

from align.models.parents import ParentConfig
from align.models.reward_models import RewardModelsConfig
from align.training.policy_meter import MeterConfig

# What stands in a stage's configuration where the study puts a model or a store of its own.
FROM_STUDY = "study"


@dataclasses.dataclass(frozen=True)
class Context:
    """What a study has made so far.

    Attributes:
      label: begins the names of stages that use it.
      policy: the fine-tune's directory.
      rewards: directories of the reward models that are the proxy together.
      pairs: the collected store.
    """

    label: str
    policy: str
    rewards: tuple[str, ...] = ()
    pairs: str = ""


def label_of(parent: ParentConfig) -> str:
    """A short name of a model of stage one."""
    path = pathlib.Path(parent.path)
    of_many = path.is_dir() and not (path / "spec.json").is_file()
    return f"{path.name}-{parent.select}" if of_many else path.name


def filled(stage: Any, context: Context) -> Any:
    """A stage's configuration with the study's own models and data where it asks for them."""
    fields: dict[str, Any] = {"parent": _model(stage.parent, context)}
    if getattr(stage, "meter", None) is not None:
        fields["meter"] = _measuring(stage.meter, context)
    if isinstance(getattr(stage, "reward", None), RewardModelsConfig):
        fields["reward"] = _proxy(stage.reward, context)
    if getattr(stage, "data", None) is not None and stage.data.store == FROM_STUDY:
        fields["data"] = dataclasses.replace(stage.data, store=context.pairs)
    return dataclasses.replace(stage, **fields)


def seeded(stage: Any, seed: int) -> Any:
    """A stage's configuration with another seed."""
    return dataclasses.replace(stage, training=dataclasses.replace(stage.training, seed=seed))


def _model(parent: ParentConfig, context: Context) -> ParentConfig:
    return ParentConfig(context.policy) if parent.path == FROM_STUDY else parent


def _measuring(meter: MeterConfig, context: Context) -> MeterConfig:
    return dataclasses.replace(meter, proxy=_proxy(meter.proxy, context))


def _proxy(config: RewardModelsConfig, context: Context) -> RewardModelsConfig:
    return dataclasses.replace(config, members=context.rewards) if config.members == (FROM_STUDY,) else config
