"""What all stages are configured with, as data: what Gin files bind. Nothing here imports JAX."""

import dataclasses
from typing import Literal

from scaling.errors import ConfigError
from scaling.mirrors.config import MirrorsConfig
from scaling.optim import schedules
from scaling.optim.config import OptimizerConfig, ScheduleConfig
from scaling.run_config import ExecutionConfig


@dataclasses.dataclass(frozen=True)
class ExamplesConfig:
    """The examples of a stage.

    Attributes:
      store: directory of the example store (`python -m align.prepare_data`).
      split: of training.
      validation_split: of the held-out measurements; empty measures none.
      validation_examples: at most so many of them.
      prompt_length: tokens of the longest prompt that fits; rows are `prompt_length + completion_length` long.
      completion_length: tokens of the longest completion that fits, EOS included.
      max_examples: takes the first so many examples of the (shuffled) split; 0 takes all. What laws over the number of comparisons vary.
    """

    store: str
    split: str = "train"
    validation_split: str = "validation"
    validation_examples: int = 256
    prompt_length: int = 64
    completion_length: int = 64
    max_examples: int = 0

    def __post_init__(self):
        for name in ("prompt_length", "completion_length"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"ExamplesConfig.{name} is {getattr(self, name)!r}", "give a positive number of tokens"
                )

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return self.prompt_length + self.completion_length


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a stage trains.

    Attributes:
      batch_size: sequences, pairs or prompts of an optimiser step (for PPO: of a rollout).
      steps: of the stage; 0 derives them from `epochs`.
      epochs: passes over the examples, where `steps` is 0.
      learning_rate: the peak.
      schedule: from the peak to `final_fraction` of it at the end; "constant" stays at the peak.
      warmup_steps: of linear warm-up.
      final_fraction: see `schedule`.
      optimizer: the update rule.
      seed: of the order of examples, of new heads and adapters, and of samples.
      compute_dtype: type of matmul inputs.
      execution: the mesh and how layers run; not part of the stage's identity.
      mirrors: tracking services that see the stage while it runs; not part of its identity.
      measure_every: steps between measurements; 0 measures at the beginning and at the end.
      checkpoint_every: steps between checkpoints; 0 saves on signals and at the end.
    """

    batch_size: int = 16
    steps: int = 0
    epochs: float = 1.0
    learning_rate: float = 1e-4
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int = 0
    final_fraction: float = 0.0
    optimizer: OptimizerConfig = OptimizerConfig(weight_decay=0.0)
    seed: int = 0
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    execution: ExecutionConfig = ExecutionConfig()
    mirrors: MirrorsConfig = MirrorsConfig()
    measure_every: int = 0
    checkpoint_every: int = 0

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("steps", 0), ("warmup_steps", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"TrainingConfig.{name} is {getattr(self, name)!r}", f"give at least {least}")
        if not self.learning_rate > 0:
            raise ConfigError(f"TrainingConfig.learning_rate is {self.learning_rate!r}", "give a positive number")
        if self.steps == 0 and not self.epochs > 0:
            raise ConfigError("TrainingConfig has neither steps nor epochs", "set one of them")

    def horizon(self, examples: int) -> int:
        """Steps of the stage over so many examples: whole batches, at least one."""
        return self.steps or max(1, int(self.epochs * examples) // self.batch_size)

    def rate(self, step: int, horizon: int) -> float:
        """The learning rate of a step."""
        constant = self.schedule == "constant"
        schedule = ScheduleConfig(
            name="linear" if constant else self.schedule,
            peak=self.learning_rate,
            warmup_tokens=self.warmup_steps,
            warmup_max_fraction=1.0,
            final_fraction=1.0 if constant else self.final_fraction,
        )
        # In units of steps: a "token" of the schedule is a step here.
        return schedules.learning_rate(schedule, step, horizon, batch_tokens=1)
