"""The gold-reward laboratory: one policy against a ladder of proxies, after Gao et al. 2022 (arXiv:2210.10760).

The gold reward labels comparisons of the policy's own samples. Proxies of several sizes learn from more or fewer of them, with more or less label noise, alone
or as ensembles (Coste et al. 2024, arXiv:2310.02743); best-of-n and PPO climb each proxy, and the gold reward says what that was worth.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

from etils import epath

from align.data.labels import Labels
from align.models.parents import ParentConfig, find
from align.stages import shares, side_by_side
from align.stages.best_of_n import BestOfNConfig
from align.stages.catalogue import KINDS
from align.stages.collecting import CollectConfig, collect
from align.stages.ppo_config import PpoStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.shares import ALONE, Share
from align.stages.side_by_side import NamedStage
from align.stages.study_context import Context, filled, label_of, seeded
from align.stages.supervised import SupervisedConfig
from scaling.errors import ConfigError, DataError
from scaling.training.interruption import Interruption


@dataclasses.dataclass(frozen=True)
class ProxyLadder:
    """Proxies of every combination.

    Attributes:
      parents: models of stage one, whose fine-tunes the reward models start from.
      comparisons: so many pairs each reward model learns from.
      labels: how they are labelled.
      members: reward models that are one proxy together, which differ in their seeds.
    """

    parents: tuple[ParentConfig, ...]
    comparisons: tuple[int, ...]
    labels: tuple[Labels, ...] = (Labels(),)
    members: tuple[int, ...] = (1,)

    def __post_init__(self):
        for name in ("parents", "comparisons", "labels", "members"):
            if not getattr(self, name):
                raise ConfigError(f"ProxyLadder.{name} is empty", "give at least one value")
        for name in ("comparisons", "members"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"ProxyLadder.{name} is {getattr(self, name)}", "give positive numbers")


@dataclasses.dataclass(frozen=True)
class Proxy:
    """One rung: see :class:`ProxyLadder`."""

    parent: ParentConfig
    comparisons: int
    labels: Labels
    members: int

    @property
    def label(self) -> str:
        """A short name."""
        together = f" x{self.members}" if self.members > 1 else ""
        return f"{label_of(self.parent)} {self.comparisons} pairs {_spelt(self.labels)}{together}"


@dataclasses.dataclass(frozen=True)
class LaboratoryConfig:
    """What is trained; "study" stands in stages where the laboratory puts a model or a store of its own.

    Attributes:
      policy: a model of stage one; its fine-tune is the policy that is optimised.
      supervised: how it, and every proxy's parent, is fine-tuned.
      collect: samples of the policy, which the gold reward labels anew for each kind of label.
      reward: how reward models are trained.
      ladders: proxies; one that is on several ladders is trained once.
      best_of_n: against each proxy.
      ppo: against each proxy of `ppo_ladders`, for it costs far more than best-of-n.
      ppo_ladders: some of the proxies; none: all of them.
      on_gold: once a seed, on the gold reward itself: the ceiling, and runs that are healthy by construction, against which alarms are judged. Where their
        meters ask for the "study"'s proxy, it is the one with the most members.
      seeds: of `ppo` and `on_gold`.
      root: the directory of all runs.
    """

    policy: ParentConfig
    supervised: SupervisedConfig
    collect: CollectConfig
    reward: RewardStageConfig
    ladders: tuple[ProxyLadder, ...]
    best_of_n: BestOfNConfig
    ppo: tuple[PpoStageConfig, ...] = ()
    ppo_ladders: tuple[ProxyLadder, ...] = ()
    on_gold: tuple[PpoStageConfig, ...] = ()
    seeds: tuple[int, ...] = (0,)
    root: str = "runs/laboratory"

    def __post_init__(self):
        if not self.ladders:
            raise ConfigError("LaboratoryConfig.ladders is empty", "name at least one ladder of proxies")
        if others := [proxy.label for proxy in self.climbed if proxy not in self.proxies]:
            raise ConfigError(
                f"LaboratoryConfig.ppo_ladders has {len(others)} proxies that are on none of the ladders: {others[0]}",
                "add them to `ladders`, or leave them out",
            )
        if any(stage.gold is None for stage in self.on_gold):
            raise ConfigError(
                "LaboratoryConfig.on_gold has a stage without a gold reward",
                "bind PpoStageConfig.gold, or move it to `ppo`",
            )

    @property
    def proxies(self) -> list[Proxy]:
        """Every proxy, once."""
        return _rungs(self.ladders)

    @property
    def climbed(self) -> list[Proxy]:
        """The proxies that PPO is run against."""
        return _rungs(self.ppo_ladders or self.ladders)


def planned(config: LaboratoryConfig, share: Share = ALONE) -> list[str]:
    """Names of all stages, in order, without looking at any data; of a share, those that it has with those that all need."""
    proxies = config.proxies
    contexts = {proxy: Context(proxy.label, "", ("",)) for proxy in proxies}
    return [
        *(f"{label_of(parent)} sft" for parent in _parents(config)),
        *(f"collect {_spelt(labels)}" for labels in _kinds_of_labels(proxies)),
        *(name for name, _, _ in _reward_models(proxies)),
        *(stage.name for stage in share.of(list(_policies(config, contexts)))),
    ]


def run(
    config: LaboratoryConfig,
    root: str | os.PathLike[str],
    interruption: Interruption,
    processes: int = 1,
    share: Share = ALONE,
) -> dict[str, str]:
    """Runs what is not done yet: fine-tunes, comparisons, reward models, then policies.

    Args:
      config: the laboratory.
      root: the directory of all runs.
      interruption: tells it to stop.
      processes: stages at a time, where they do not depend on each other.
      share: of the policies; what they start from is done by whichever share comes first.

    Returns:
      The status of every stage that this share needs or has, by its name.

    Raises:
      InterruptedRunError: a signal came; the same command continues.
      BadInputError: a stage's data, configuration or parent do not fit.
    """
    root, proxies = os.fspath(root), config.proxies
    fine_tunes = [
        NamedStage("sft", dataclasses.replace(config.supervised, parent=parent), f"{label_of(parent)} sft")
        for parent in _parents(config)
    ]
    statuses = shares.run_for_all(fine_tunes, root, processes, interruption, share)
    tuned = dict(zip(_parents(config), _paths(fine_tunes, root), strict=True))
    policy = tuned[config.policy]
    pairs = {
        labels: share.awaited(
            functools.partial(_collected, config, labels, policy, interruption),
            interruption,
            f"collect {_spelt(labels)}",
        )
        for labels in share.own_first(_kinds_of_labels(proxies))
    }

    rewards = []
    for name, proxy, seed in _reward_models(proxies):
        stage = filled(config.reward, Context(name, tuned[proxy.parent], (), pairs[proxy.labels]))
        fewer = dataclasses.replace(stage.data, max_examples=proxy.comparisons)
        rewards.append(NamedStage("reward", seeded(dataclasses.replace(stage, data=fewer), seed), name))
    statuses |= shares.run_for_all(rewards, root, processes, interruption, share)
    paths = dict(zip((stage.name for stage in rewards), _paths(rewards, root), strict=True))

    members = {proxy: tuple(paths[name] for name, _ in _members(proxy)) for proxy in proxies}
    contexts = {proxy: Context(proxy.label, policy, members[proxy]) for proxy in proxies}
    return statuses | side_by_side.run(share.of(list(_policies(config, contexts))), root, processes, interruption)


def _rungs(ladders: Iterable[ProxyLadder]) -> list[Proxy]:
    rungs = (itertools.product(ladder.parents, ladder.comparisons, ladder.labels, ladder.members) for ladder in ladders)
    return list(dict.fromkeys(Proxy(*rung) for rung in itertools.chain.from_iterable(rungs)))


def _parents(config: LaboratoryConfig) -> list[ParentConfig]:
    return list(dict.fromkeys((config.policy, *(proxy.parent for proxy in config.proxies))))


def _kinds_of_labels(proxies: Iterable[Proxy]) -> list[Labels]:
    return list(dict.fromkeys(proxy.labels for proxy in proxies))


def _members(proxy: Proxy) -> list[tuple[str, int]]:
    """Name and seed of each reward model of a proxy."""
    alone = dataclasses.replace(proxy, members=1).label
    return [(f"{alone} seed={seed}", seed) for seed in range(proxy.members)]


def _reward_models(proxies: Iterable[Proxy]) -> list[tuple[str, Proxy, int]]:
    """Name, a proxy that it belongs to, and seed of every reward model, once."""
    found = {name: (proxy, seed) for proxy in proxies for name, seed in _members(proxy)}
    return [(name, proxy, seed) for name, (proxy, seed) in found.items()]


def _policies(config: LaboratoryConfig, contexts: dict[Proxy, Context]) -> Iterator[NamedStage]:
    for context in contexts.values():
        yield NamedStage("best_of_n", filled(config.best_of_n, context), f"{context.label} best_of_n")
    largest = contexts[max(config.proxies, key=lambda proxy: proxy.members)]
    for seed in config.seeds:
        for proxy in config.climbed:
            for stage in config.ppo:
                name = f"{proxy.label} {stage.method} beta={stage.controller.beta:g} seed={seed}"
                yield NamedStage("ppo", seeded(filled(stage, contexts[proxy]), seed), name)
        for stage in config.on_gold:
            name = f"{stage.method} beta={stage.controller.beta:g} seed={seed}"
            yield NamedStage("ppo", seeded(filled(stage, largest), seed), name)


def _collected(config: LaboratoryConfig, labels: Labels, policy: str, interruption: Interruption) -> str:
    name = f"{find(ParentConfig(policy)).identity}-{_spelt(labels).replace(' ', '-')}"
    output = str(pathlib.Path(config.collect.output) / name)
    stage = dataclasses.replace(config.collect, output=output, labels=labels)
    store = collect(filled(stage, Context(name, policy)), interruption)
    asked = max(proxy.comparisons for proxy in config.proxies if proxy.labels == labels)
    if (there := len(store.split(config.reward.data.split))) < asked:
        raise DataError(
            f"{store.path} has {there} comparisons, and a ladder of proxies asks for {asked}",
            "delete it, and raise MeterConfig.num_prompts or CollectConfig.pairs_per_prompt of its samples, or ask for fewer",
        )
    return str(store.path)


def _paths(stages: Iterable[NamedStage], root: str) -> list[str]:
    """Directories of stages that are done."""
    return [os.fspath(epath.Path(root) / KINDS[stage.kind].spec(stage.config, stage.name).run_id) for stage in stages]


def _spelt(labels: Labels) -> str:
    value = {"none": "", "flip": f" {labels.flip:g}", "bradley_terry": f" {labels.temperature:g}"}[labels.noise]
    return f"{labels.noise.replace('_', '-')}{value}"
