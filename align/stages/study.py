"""A study of stage two: one or several models of stage one through fine-tuning, reward models and every method, with seeds.

Stages that are done are left as they are, so a study that was killed goes on where it was; and a study may grow.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from align.models.parents import ParentConfig, find
from align.stages import running, side_by_side
from align.stages.best_of_n import BestOfNConfig
from align.stages.collecting import CollectConfig, collect
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.shares import ALONE, Share
from align.stages.side_by_side import NamedStage
from align.stages.study_context import Context, filled, label_of, seeded
from align.stages.supervised import SupervisedConfig
from scaling.errors import ConfigError
from scaling.training.interruption import Interruption


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


def run(
    config: StudyConfig,
    root: str | os.PathLike[str],
    interruption: Interruption,
    processes: int = 1,
    share: Share = ALONE,
) -> dict[str, str]:
    """Runs what is not done yet: what every parent's policies start from, then the policies, which do not depend on each other.

    Args:
      config: the study.
      root: the directory of all runs.
      interruption: tells it to stop.
      processes: policies at a time; 1 runs them in this process.
      share: of the policies; what they start from is done by whichever share comes first.

    Returns:
      The status of every stage that this share needs or has, by its name.

    Raises:
      InterruptedRunError: a signal came; the same command continues.
      BadInputError: a stage's data, configuration or parent do not fit.
    """
    statuses: dict[str, str] = {}
    prepared = {
        parent: _prepared(config, parent, root, interruption, statuses, share)
        for parent in share.own_first(config.parents)
    }
    policies = _policies(config, [prepared[parent] for parent in config.parents], share)
    return statuses | side_by_side.run(policies, os.fspath(root), processes, interruption)


def planned(config: StudyConfig, share: Share = ALONE) -> list[str]:
    """Names of all stages, in order, without looking at any data; of a share, those that it has with those that all need."""
    contexts = [Context(label_of(parent), "", ("",)) for parent in config.parents]
    names = []
    for context in contexts:
        names.append(f"{context.label} sft")
        names += [f"{context.label} reward seed={seed}" for seed in config.reward_seeds]
        names += [f"{context.label} collect"] if config.collect else []
    return names + [stage.name for stage in _policies(config, contexts, share)]


def _prepared(
    config: StudyConfig,
    parent: ParentConfig,
    root: str | os.PathLike[str],
    interruption: Interruption,
    statuses: dict[str, str],
    share: Share,
) -> Context:
    """What the policies of one parent start from; adds the statuses of its stages."""

    def done(kind: str, stage: Any, name: str) -> str:
        run = functools.partial(running.run, kind, stage, root, interruption, name)
        directory, statuses[name] = share.awaited(run, interruption, name)
        return str(directory.path)

    name = label_of(parent)
    context = Context(name, done("sft", dataclasses.replace(config.supervised, parent=parent), f"{name} sft"))
    reward = filled(config.reward, context)
    rewards = {
        seed: done("reward", seeded(reward, seed), f"{name} reward seed={seed}")
        for seed in share.own_first(config.reward_seeds)
    }
    context = dataclasses.replace(context, rewards=tuple(rewards[seed] for seed in config.reward_seeds))
    if not config.collect:
        return context
    output = str(pathlib.Path(config.collect.output) / find(ParentConfig(context.policy)).identity)
    stage = filled(dataclasses.replace(config.collect, output=output), context)
    store = share.awaited(functools.partial(collect, stage, interruption), interruption, f"{name} collect")
    return dataclasses.replace(context, pairs=str(store.path))


def _policies(config: StudyConfig, contexts: Sequence[Context], share: Share) -> list[NamedStage]:
    """Every run that makes or measures a policy; parents in turn, so that a study that is stopped has as much of each.

    Each parent's are dealt out apart, so that no share has all the large models.
    """
    by_parent = [share.of(list(_of_parent(config, context)), offset) for offset, context in enumerate(contexts)]
    return [stage for stages in itertools.zip_longest(*by_parent) for stage in stages if stage is not None]


def _of_parent(config: StudyConfig, context: Context) -> Iterator[NamedStage]:
    for stage in config.best_of_n:
        yield NamedStage("best_of_n", filled(stage, context), f"{context.label} best_of_n")
    for seed in config.seeds:
        for stage in config.preference:
            name = f"{context.label} {stage.method} beta={stage.terms[0].beta:g} seed={seed}"
            yield NamedStage("preference", seeded(filled(stage, context), seed), name)
        for stage in config.ppo:
            name = f"{context.label} {stage.method} beta={stage.controller.beta:g} seed={seed}"
            yield NamedStage("ppo", seeded(filled(stage, context), seed), name)
