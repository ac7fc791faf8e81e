"""The configuration of preference optimisation, as data."""

import dataclasses
from typing import Literal

from align.losses.preference.config import PreferenceConfig, PreferenceMixture
from align.losses.preference.options import LOSSES
from align.models.lora import LoraConfig
from align.models.parents import ParentConfig
from align.stage_config import ExamplesConfig, TrainingConfig
from align.training.policy_meter import MeterConfig
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class MovingReference:
    """A reference that follows the policy (TR-DPO, Gorbatovski et al. 2024, arXiv:2404.09656).

    Attributes:
      every: steps between updates; 0 keeps the reference where it is.
      weight: of the policy in the update: 1 replaces the reference ("hard"), less moves it so far towards the policy ("soft").
    """

    every: int = 0
    weight: float = 1.0

    def __post_init__(self):
        if self.every < 0 or not 0 < self.weight <= 1:
            raise ConfigError(
                f"MovingReference.every is {self.every!r} and weight {self.weight!r}",
                "give steps of at least 0 and a weight above 0, at most 1",
            )


@dataclasses.dataclass(frozen=True)
class PreferenceStageConfig:
    """One run of preference optimisation.

    Attributes:
      parent: the policy that it starts from, which is also its reference.
      data: pairs.
      loss: the loss, or a weighted mixture of losses.
      training: how; a batch is `batch_size` pairs.
      meter: how the policy is measured.
      lora: trains an adapter; the reference is the policy without it.
      reference: "live" computes its log-probabilities in every step, "cached" once for all pairs.
      reference_cache: the directory of caches; each is named by a hash of model and data.
      moving_reference: TR-DPO's updates; needs a live reference.
      soft_labels: 0 takes labels as certain; t > 0 takes the probability sig((gold of chosen - gold of rejected) / t) that gold scores give them, for the
        losses that have room for it (Furuta et al. 2024, arXiv:2409.06691, section 3).
    """

    parent: ParentConfig
    data: ExamplesConfig
    loss: PreferenceConfig | PreferenceMixture = PreferenceConfig()
    training: TrainingConfig = TrainingConfig()
    meter: MeterConfig = MeterConfig()
    lora: LoraConfig = LoraConfig()
    reference: Literal["live", "cached"] = "live"
    reference_cache: str = "caches/reference"
    moving_reference: MovingReference = MovingReference()
    soft_labels: float = 0.0

    def __post_init__(self):
        hard = [term.loss for term in self.terms if not LOSSES[term.loss].soft_labels]
        if not self.soft_labels >= 0 or (self.soft_labels and hard):
            raise ConfigError(
                f"PreferenceStageConfig.soft_labels is {self.soft_labels!r} for the loss {', '.join(hard) or self.method}",
                f"give 0, or a positive temperature and one of {', '.join(sorted(name for name in LOSSES if LOSSES[name].soft_labels))}",
            )
        if self.moving_reference.every and (self.reference == "cached" or self.lora.rank):
            raise ConfigError(
                "PreferenceStageConfig.moving_reference needs a live reference and no adapter",
                "set reference to 'live' and LoraConfig.rank to 0, or moving_reference.every to 0",
            )
        parts = self.training.execution.accumulation
        coupled = [term.loss for term in self.terms if LOSSES[term.loss].couples_batch]
        if parts > 1 and coupled:
            raise ConfigError(
                f"the loss {coupled[0]!r} compares the pairs of a batch with each other, so the batch cannot be cut into {parts} micro-batches",
                "set ExecutionConfig.accumulation to 1",
            )

    @property
    def terms(self) -> tuple[PreferenceConfig, ...]:
        """The losses."""
        return self.loss.terms if isinstance(self.loss, PreferenceMixture) else (self.loss,)

    @property
    def method(self) -> str:
        """A name for records and plots; a reference that moves is a method of its own (TR-DPO)."""
        moving = "tr_" if self.moving_reference.every else ""
        return moving + "+".join(term.loss for term in self.terms)
