"""The choice of a controller of the KL coefficient, as data: what a Gin file binds. Nothing here imports JAX."""

import dataclasses
import math
from typing import Literal

from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ControllerConfig:
    """How the coefficient of the KL penalty follows the measured KL, with e = clip(KL / target - 1, -error_clip, error_clip).

    Attributes:
      name: "fixed"; "adaptive": beta *= 1 + e * episodes / horizon (Ziegler et al. 2019, arXiv:1909.08593, section 2.2); "alpaca_farm": beta *= 1 +
        step_gain * e at every rollout, whatever its size (Dubois et al. 2023, AlpacaFarm).
      beta: the coefficient, at the beginning where it adapts.
      target: nats per sequence that an adaptive controller steers to.
      horizon: episodes over which "adaptive" answers.
      step_gain: of "alpaca_farm".
      error_clip: bound on the relative error.
    """

    name: Literal["fixed", "adaptive", "alpaca_farm"] = "fixed"
    beta: float = 0.1
    target: float = 6.0
    horizon: float = 10_000.0
    step_gain: float = 0.1
    error_clip: float = 0.2

    def __post_init__(self):
        if self.name not in ("fixed", "adaptive", "alpaca_farm"):
            raise ConfigError(f"ControllerConfig.name is {self.name!r}", "choose fixed, adaptive or alpaca_farm")
        if not 0 <= self.beta < math.inf:
            raise ConfigError(f"ControllerConfig.beta is {self.beta!r}", "give a finite number of at least 0")
        for name in ("target", "horizon", "step_gain", "error_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"ControllerConfig.{name} is {getattr(self, name)!r}", "give a finite, positive number"
                )
