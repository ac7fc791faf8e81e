"""A study of stage two: one or several models of stage one through fine-tuning, reward models and every method, with seeds.

Stages that are done are left as they are, so a study that was killed goes on where it was; and a study may grow.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from align.models.parents import ParentConfig, find
from align.models.reward_models import RewardModelsConfig
from align.stages import running, side_by_side
from align.stages.best_of_n import BestOfNConfig
from align.stages.collecting import CollectConfig, collect
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.side_by_side import NamedStage
from align.stages.supervised import SupervisedConfig
from align.training.policy_meter import MeterConfig
from scaling.errors import ConfigError
from scaling.training.interruption import Interruption

# What stands in a stage's configuration where the study puts a model or a store of its own.
FROM_STUDY = "study"


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What is trained for every parent, in this order; parents take turns.

    A stage whose `ParentConfig.path` is "study" starts from the parent's fine-tune; reward models "study" are those of `reward`, and data "study" is the store
    that `collect` makes.

    Attributes:
      parents: models of stage one.
      supervised: the fine-tune, which is the reference of everything that follows.
      reward: the reward model; one for each of `reward_seeds`, which together are the proxy.
      reward_seeds: of the ensemble.
      collect: pairs of the fine-tune's own samples, or None.
      preference: runs of preference optimisation.
      ppo: runs of PPO, RLOO or GRPO.
      best_of_n: curves.
      seeds: every run of `preference` and `ppo` is repeated with each.
      root: the directory of all runs.
    """

    parents: tuple[ParentConfig, ...]
    supervised: SupervisedConfig
    reward: RewardStageConfig
    root: str = "runs/align"
    reward_seeds: tuple[int, ...] = (0,)
    collect: CollectConfig | None = None
    preference: tuple[PreferenceStageConfig, ...] = ()
    ppo: tuple[PpoStageConfig, ...] = ()
    best_of_n: tuple[BestOfNConfig, ...] = ()
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self):
        if not self.parents:
            raise ConfigError("StudyConfig.parents is empty", "name at least one model of stage one")


@dataclasses.dataclass(frozen=True)
class Context:
    """What a study has made of one parent so far.

    Attributes:
      label: names the parent.
      policy: the fine-tune's directory.
      rewards: directories of the reward models.
      pairs: the collected store.
    """

    label: str
    policy: str
    rewards: tuple[str, ...]
    pairs: str


def run(
    config: StudyConfig, root: str | os.PathLike[str], interruption: Interruption, processes: int = 1
) -> dict[str, str]:
    """Runs what is not done yet: what every parent's policies start from, then the policies, which do not depend on each other.

    Args:
      config: the study.
      root: the directory of all runs.
      interruption: tells it to stop.
      processes: policies at a time; 1 runs them in this process.

    Returns:
      The status of every stage, by its name.

    Raises:
      InterruptedRunError: a signal came; the same command continues.
      BadInputError: a stage's data, configuration or parent do not fit.
    """
    statuses: dict[str, str] = {}
    contexts = [_prepared(config, parent, root, interruption, statuses) for parent in config.parents]
    # Parents in turn, so that a study that is stopped has as much of each.
    policies = [
        stage for stages in zip(*(_policies(config, context) for context in contexts), strict=True) for stage in stages
    ]
    if processes > 1:
        return statuses | side_by_side.run(policies, os.fspath(root), processes, interruption)
    for kind, stage, name in policies:
        _, statuses[name] = running.run(kind, stage, root, interruption, name)
    return statuses


def planned(config: StudyConfig) -> list[str]:
    """Names of all stages, in order, without looking at any data."""
    labels = [_label(parent) for parent in config.parents]
    names = []
    for label in labels:
        names.append(f"{label} sft")
        names += [f"{label} reward seed={seed}" for seed in config.reward_seeds]
        names += [f"{label} collect"] if config.collect else []
    policies = zip(*(_policies(config, Context(label, "", ("",), "")) for label in labels), strict=True)
    return names + [stage.name for stages in policies for stage in stages]


def _prepared(config, parent, root, interruption, statuses) -> Context:
    label = _label(parent)
    supervised = dataclasses.replace(config.supervised, parent=parent)
    fine_tune, statuses[f"{label} sft"] = running.run("sft", supervised, root, interruption, f"{label} sft")
    policy = str(fine_tune.path)
    rewards = []
    for seed in config.reward_seeds:
        name = f"{label} reward seed={seed}"
        stage = _seeded(dataclasses.replace(config.reward, parent=_path(config.reward.parent, policy)), seed)
        directory, statuses[name] = running.run("reward", stage, root, interruption, name)
        rewards.append(str(directory.path))
    context = Context(label, policy, tuple(rewards), "")
    if not config.collect:
        return context
    output = str(pathlib.Path(config.collect.output) / find(ParentConfig(policy)).identity)
    stage = _filled(dataclasses.replace(config.collect, output=output), context)
    return dataclasses.replace(context, pairs=str(collect(stage, interruption).path))


def _policies(config: StudyConfig, context: Context) -> Iterator[NamedStage]:
    """Every run that makes or measures a policy."""
    for stage in config.best_of_n:
        yield NamedStage("best_of_n", _filled(stage, context), f"{context.label} best_of_n")
    for seed in config.seeds:
        for stage in config.preference:
            name = f"{context.label} {stage.method} beta={stage.terms[0].beta:g} seed={seed}"
            yield NamedStage("preference", _seeded(_filled(stage, context), seed), name)
        for stage in config.ppo:
            name = f"{context.label} {stage.method} beta={stage.controller.beta:g} seed={seed}"
            yield NamedStage("ppo", _seeded(_filled(stage, context), seed), name)


def _label(parent: ParentConfig) -> str:
    path = pathlib.Path(parent.path)
    of_many = path.is_dir() and not (path / "spec.json").is_file()
    return f"{path.name}-{parent.select}" if of_many else path.name


def _path(parent: ParentConfig, policy: str) -> ParentConfig:
    return ParentConfig(policy) if parent.path == FROM_STUDY else parent


def _filled(stage: Any, context: Context) -> Any:
    """The stage with the study's own models and data where it asks for them."""
    fields: dict[str, Any] = {"parent": _path(stage.parent, context.policy)}
    fields["meter"] = _measuring(stage.meter, context)
    if getattr(stage, "reward", None) is not None:
        fields["reward"] = _rewards(stage.reward, context)
    if getattr(stage, "data", None) is not None and stage.data.store == FROM_STUDY:
        fields["data"] = dataclasses.replace(stage.data, store=context.pairs)
    return dataclasses.replace(stage, **fields)


def _measuring(meter: MeterConfig, context: Context) -> MeterConfig:
    return dataclasses.replace(meter, proxy=_rewards(meter.proxy, context))


def _rewards(rewards: RewardModelsConfig, context: Context) -> RewardModelsConfig:
    return dataclasses.replace(rewards, members=context.rewards) if rewards.members == (FROM_STUDY,) else rewards


def _seeded(stage: Any, seed: int) -> Any:
    return dataclasses.replace(stage, training=dataclasses.replace(stage.training, seed=seed))
