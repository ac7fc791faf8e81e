"""The configuration of reinforcement learning from a reward, as data."""

import dataclasses
from typing import Literal

from align.generation.sampling_config import SamplingConfig
from align.gold.choice import GoldConfig
from align.models.lora import LoraConfig
from align.models.parents import ParentConfig
from align.models.reward_models import RewardModelsConfig
from align.rl.advantages import GroupScale
from align.rl.controller_config import ControllerConfig
from align.rl.rewards import EosPenalty
from align.rl.token_weights import Normalisation
from align.rl.whitening import Variance
from align.stage_config import ExamplesConfig, TrainingConfig
from align.training.policy_meter import MeterConfig
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ValueConfig:
    """The value function of PPO; RLOO and GRPO have none.

    Attributes:
      network: "separate" trains a network of its own, "shared" reads the policy's hidden states.
      start: what a separate network begins as: the first "reward" model (Ouyang et al. 2022), or the "policy".
      weight: of the value loss.
      clip: of the value loss; None leaves the squared error.
      discount: gamma.
      trace: lambda.
    """

    network: Literal["separate", "shared"] = "separate"
    start: Literal["reward", "policy"] = "reward"
    weight: float = 0.1
    clip: float | None = 0.2
    discount: float = 1.0
    trace: float = 0.95


@dataclasses.dataclass(frozen=True)
class PretrainingMix:
    """PPO-ptx: text of stage one beside the episodes (Ouyang et al. 2022, eq. 2).

    Attributes:
      store: a token store; empty mixes nothing.
      weight: gamma, of the mean negative log-likelihood of a token.
      sequences: windows beside each minibatch.
      sequence_length: tokens of a window.
    """

    store: str = ""
    weight: float = 0.0
    sequences: int = 4
    sequence_length: int = 128

    def __post_init__(self):
        if bool(self.store) != (self.weight > 0):
            raise ConfigError(
                f"PretrainingMix.store is {self.store!r} and weight {self.weight!r}", "set both, or leave both out"
            )


@dataclasses.dataclass(frozen=True)
class PpoStageConfig:
    """One run of PPO, RLOO or GRPO.

    Attributes:
      parent: the policy that it starts from, which is also its reference.
      data: prompts (the prompts of any example store); `completion_length` is the longest completion that is sampled.
      training: how; a batch is `batch_size` episodes, and a step is one rollout with all its epochs.
      meter: how the policy is measured.
      reward: the reward models; none where `gold` is given.
      gold: trains on the gold reward itself (PPO-GT of Rafailov et al. 2023).
      algorithm: "ppo" with a value function; "rloo" and "grpo" compare the completions of a prompt with each other.
      samples_per_prompt: completions of each prompt in a rollout.
      temperature: of the samples, and of all log-probabilities.
      epochs: passes over a rollout.
      minibatches: parts of a rollout, an update each.
      clip: of the ratio, below; `clip_high` above, where it differs.
      dual_clip: bound for negative advantages, above 1; None switches it off.
      entropy_weight: of the entropy bonus.
      value: PPO's value function.
      controller: the coefficient of the divergence from the reference.
      kl_estimator: "k1", "k2", "k3", or "exact" over the whole vocabulary.
      kl_in: the divergence as a penalty of token rewards, or as a term of the loss.
      whiten_rewards: divides token rewards by their standard deviation, without shifting them.
      whiten_advantages: of PPO: to mean 0 and variance 1 over the rollout's tokens.
      variance: of whitening and of GRPO's groups.
      group_scale: of GRPO.
      normalisation: how token losses are averaged.
      missing_eos_penalty: of episodes that did not end, with `eos_penalty` saying how.
      pretraining: PPO-ptx.
      lora: trains an adapter of the policy.
    """

    parent: ParentConfig
    data: ExamplesConfig
    training: TrainingConfig = TrainingConfig()
    meter: MeterConfig = MeterConfig()
    reward: RewardModelsConfig = RewardModelsConfig()
    gold: GoldConfig | None = None
    algorithm: Literal["ppo", "rloo", "grpo"] = "ppo"
    samples_per_prompt: int = 1
    temperature: float = 1.0
    epochs: int = 4
    minibatches: int = 4
    clip: float = 0.2
    clip_high: float | None = None
    dual_clip: float | None = None
    entropy_weight: float = 0.0
    value: ValueConfig = ValueConfig()
    controller: ControllerConfig = ControllerConfig()
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = "k1"
    kl_in: Literal["reward", "loss"] = "reward"
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    variance: Variance = "population"
    group_scale: GroupScale = "group"
    normalisation: Normalisation = "tokens"
    missing_eos_penalty: float = 0.0
    eos_penalty: EosPenalty = "subtract"
    pretraining: PretrainingMix = PretrainingMix()
    lora: LoraConfig = LoraConfig()

    def __post_init__(self):
        if bool(self.reward.members) == (self.gold is not None):
            raise ConfigError(
                "PpoStageConfig has " + ("both reward and gold" if self.gold else "neither reward nor gold"),
                "set one of them",
            )
        if self.algorithm != "ppo" and self.samples_per_prompt < 2:
            raise ConfigError(
                f"PpoStageConfig.samples_per_prompt is {self.samples_per_prompt}, and {self.algorithm} compares completions of one prompt",
                "sample at least 2",
            )
        if self.value.start == "reward" and self.value.network == "separate" and self.algorithm == "ppo" and self.gold:
            raise ConfigError(
                "ValueConfig.start is 'reward', and PPO on the gold reward has no reward model", "set it to 'policy'"
            )
        if not self.temperature > 0:
            raise ConfigError(f"PpoStageConfig.temperature is {self.temperature!r}", "give a positive number")
        for whole, part in (("training.batch_size", "minibatches"), ("training.batch_size", "samples_per_prompt")):
            if getattr(self, part) < 1 or self.training.batch_size % getattr(self, part):
                raise ConfigError(
                    f"PpoStageConfig.{whole} ({self.training.batch_size}) is not a multiple of {part} ({getattr(self, part)})",
                    f"choose {part} among the divisors of the batch",
                )

    @property
    def method(self) -> str:
        """A name for records and plots."""
        return self.algorithm + (" on gold" if self.gold else "")

    @property
    def sampling(self) -> SamplingConfig:
        """How episodes are drawn: by the policy itself, unfiltered."""
        return SamplingConfig(temperature=self.temperature, max_new_tokens=self.data.completion_length)

    @property
    def minibatch_size(self) -> int:
        """Episodes of an update."""
        return self.training.batch_size // self.minibatches
