"""One training run, as data: what the Gin files bind and what a run directory freezes.

Nothing here imports JAX or TensorFlow, so launchers can build, count and name runs in milliseconds.
"""

import dataclasses
import hashlib
import json
from typing import Any, Literal

from scaling import gin_files
from scaling.data.config import DataConfig
from scaling.errors import ConfigError
from scaling.mirrors.config import MirrorsConfig
from scaling.models.config import TransformerConfig
from scaling.optim import schedules
from scaling.optim.config import OptimizerConfig, ScheduleConfig


def _require_least(config: Any, **least: int) -> None:
    """Refuses a configuration with a field below its least value."""
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ConfigError(
                f"{type(config).__name__}.{name} is {getattr(config, name)!r}", f"give a number of at least {value}"
            )


@dataclasses.dataclass(frozen=True)
class EvaluationDomain:
    """A held-out text on which losses are measured.

    Attributes:
      name: the key of its loss in the record.
      store: directory of the token store (its vocabulary must be the training one).
      split: split of that store.
      max_tokens: at most about this many tokens, in windows spread evenly over the split; 0 takes all.
    """

    name: str
    store: str
    split: str = "validation"
    max_tokens: int = 0


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """When and on what a run is evaluated; the first domain is the primary one, which laws are fitted to.

    Attributes:
      domains: the held-out texts.
      every_tokens: period during training, one step at least; 0 evaluates at the end only.
      batch_size: sequences per evaluation step.
    """

    domains: tuple[EvaluationDomain, ...] = ()
    every_tokens: int = 0
    batch_size: int = 16

    def __post_init__(self):
        _require_least(self, every_tokens=0, batch_size=1)
        names = [domain.name for domain in self.domains]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"EvaluationConfig.domains has {names.count(name)} domains called {name!r}",
                    "give each a name of its own: it is the key of its loss in the record",
                )


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """How the mathematics is executed; none of it changes what is computed beyond rounding, nor the run's identity.

    Attributes:
      data, fsdp, tensor: sizes of the mesh axes; -1 for `data` takes the devices that the others leave.
      accumulation: micro-batches per step; must divide the batch.
      layers: "unroll" is faster on CPU, "scan" compiles faster and saves memory on accelerators, "auto" chooses so.
      remat: what the backward pass recomputes: "none", "dots" (keeps matmul outputs) or "full" (keeps layer inputs).
      attention_chunk: queries per block of causal attention; each block sees only the keys it needs. 0 is one block.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    accumulation: int = 1
    layers: Literal["auto", "unroll", "scan"] = "auto"
    remat: Literal["none", "dots", "full"] = "none"
    attention_chunk: int = 64

    def __post_init__(self):
        _require_least(self, accumulation=1, attention_chunk=0)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When the state is saved.

    Attributes:
      every_tokens: period, one step at least; 0 saves only at the end, on signals and where branches start.
      keep: how many of the latest periodic checkpoints stay on disk (branch points stay besides).
    """

    every_tokens: int = 0
    keep: int = 1

    def __post_init__(self):
        _require_least(self, every_tokens=0, keep=1)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run, or a trunk with its branches.

    Attributes:
      model: the architecture.
      data: the training text.
      tokens: the horizon: tokens seen over the whole run (rounded down to whole steps).
      batch_size: sequences per optimiser step.
      schedule: the learning rate over that horizon.
      optimizer: the update rule.
      evaluation: held-out text.
      seed: of the initialisation and of the order of the data.
      compute_dtype: type of matmul inputs; parameters, softmax, losses and matmul sums are float32 always.
      branches: token budgets, increasing. When given, the run is a trunk at constant rate (the schedule must be "wsd") and each budget is a run
        of its own that leaves the trunk for its decay; `tokens` then is the largest budget.
      execution: how it runs; not part of the run's identity.
      checkpoint: when it saves; not part of the run's identity.
      mirrors: tracking services that see it while it trains; not part of the run's identity.
    """

    model: TransformerConfig
    data: DataConfig
    tokens: int
    batch_size: int
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = 0
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    branches: tuple[int, ...] = ()
    execution: ExecutionConfig = ExecutionConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mirrors: MirrorsConfig = MirrorsConfig()

    def __post_init__(self):
        _require_least(self, batch_size=1)
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"RunConfig.seed is {self.seed!r}", "give a number from 0 to 2**32 - 1")
        if self.batch_size % self.execution.accumulation:
            raise ConfigError(
                f"RunConfig.batch_size ({self.batch_size}) is not a multiple of ExecutionConfig.accumulation "
                f"({self.execution.accumulation})",
                "make the batch divisible by the micro-batches",
            )
        if self.steps < 1:
            raise ConfigError(
                f"RunConfig.tokens ({self.tokens}) is less than one batch of {self.batch_tokens} tokens",
                "raise tokens or lower batch_size or sequence_length",
            )
        if self.model.positions == "learned" and self.data.sequence_length > self.model.max_length:
            raise ConfigError(
                f"DataConfig.sequence_length ({self.data.sequence_length}) exceeds the model's max_length "
                f"({self.model.max_length})",
                "raise max_length or shorten the sequences",
            )
        self._check_branches()

    def _check_branches(self) -> None:
        if not self.branches:
            return
        if self.schedule.name != "wsd":
            raise ConfigError(
                f"RunConfig.branches needs ScheduleConfig.name 'wsd', not {self.schedule.name!r}",
                "set the schedule to 'wsd' or remove the branches",
            )
        if list(self.branches) != sorted(set(self.branches)) or self.branches[-1] != self.tokens:
            raise ConfigError(
                f"RunConfig.branches {self.branches} must increase and end at RunConfig.tokens ({self.tokens})",
                "sort the budgets and set tokens to the largest",
            )
        self._check_branch_warmup()

    def _check_branch_warmup(self) -> None:
        """A branch stands for the run trained alone, so the trunk must warm up just as that run would."""
        shortest = self.branches[0] // self.batch_tokens
        of_trunk, of_shortest = (
            schedules.warmup_steps(self.schedule, steps, self.batch_tokens) for steps in (self.steps, shortest)
        )
        if shortest < 1 or of_trunk != of_shortest or schedules.decay_start(self.schedule, shortest) < of_trunk:
            raise ConfigError(
                f"RunConfig.branches: a run of {self.branches[0]} tokens alone would warm up for {of_shortest} steps, its trunk "
                f"does for {of_trunk}",
                "raise the smallest budget or lower ScheduleConfig.warmup_tokens",
            )

    @property
    def batch_tokens(self) -> int:
        """Tokens of one optimiser step."""
        return self.batch_size * self.data.sequence_length

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.tokens // self.batch_tokens


# Fields that decide where and how fast a run is computed, not what it computes.
_OUTSIDE_IDENTITY = ("execution", "checkpoint", "mirrors")


@dataclasses.dataclass(frozen=True)
class StoreHashes:
    """Content hashes of the token stores that a run reads; where they lie does not matter.

    Attributes:
      train: of the training text.
      held_out: of each evaluation domain, in their order.
    """

    train: str
    held_out: tuple[str, ...] = ()


def run_id(config: RunConfig, stores: StoreHashes, kind: str, parent: str | None = None) -> str:
    """Names a run by what it computes: 16 hexadecimal digits of a hash over configuration, data and parent.

    Args:
      config: the run.
      stores: content hashes of its stores.
      kind: "pretrain", "trunk" or "branch".
      parent: run id of the trunk that a branch leaves.
    """
    identity = gin_files.to_dict(config)
    for field in _OUTSIDE_IDENTITY:
        del identity[field]
    del identity["data"]["store"], identity["data"]["placement"]
    identity["evaluation"] = [[domain.name, domain.split, domain.max_tokens] for domain in config.evaluation.domains]
    content = {"config": identity, "stores": dataclasses.asdict(stores), "kind": kind, "parent": parent}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
