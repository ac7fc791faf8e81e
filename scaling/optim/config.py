"""Optimiser and schedule, as data (no JAX here)."""

import dataclasses
import math
from typing import Literal

from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become updates.

    Attributes:
      name: "adamw" (Loshchilov and Hutter 2019) or "adafactor" (Shazeer and Stern 2018).
      beta1, beta2, epsilon: AdamW's moments and denominator; Adafactor uses `beta1` as momentum only when it is positive.
      weight_decay: decoupled, multiplied by the learning rate; only on parameters whose specification says so.
      clip_norm: bound on the global norm of the gradient; 0 switches clipping off.
    """

    name: Literal["adamw", "adafactor"] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0

    def __post_init__(self):
        for name in ("clip_norm", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"OptimizerConfig.{name} is {getattr(self, name)!r}", "give a finite number, 0 to switch it off"
                )
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"OptimizerConfig.{name} is {getattr(self, name)!r}", "give a number of at least 0 and below 1"
                )


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate as a function of the step and of the run's true horizon.

    Attributes:
      name: "cosine" (to `final_fraction`), "linear", "inverse_square_root" or "wsd" (warm-up, stable, decay: Hu et al. 2024).
      peak: the highest learning rate.
      warmup_tokens: tokens of linear warm-up.
      warmup_max_fraction: warm-up never takes more than this fraction of the horizon (Porian et al. 2024: a warm-up longer than
        small runs was one cause of Kaplan's exponent).
      decay_fraction: for "wsd", the last part of the horizon in which the rate falls linearly.
      final_fraction: the rate at the horizon, as a fraction of the peak.
    """

    name: Literal["cosine", "linear", "inverse_square_root", "wsd"] = "cosine"
    peak: float = 3e-4
    warmup_tokens: int = 0
    warmup_max_fraction: float = 0.2
    decay_fraction: float = 0.2
    final_fraction: float = 0.1

    def __post_init__(self):
        if not 0 < self.peak < math.inf:
            raise ConfigError(f"ScheduleConfig.peak is {self.peak!r}", "give a positive, finite learning rate")
        if self.warmup_tokens < 0:
            raise ConfigError(f"ScheduleConfig.warmup_tokens is {self.warmup_tokens!r}", "give 0 or more tokens")
        for name in ("warmup_max_fraction", "decay_fraction", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"ScheduleConfig.{name} is {getattr(self, name)!r}", "give a fraction between 0 and 1"
                )
