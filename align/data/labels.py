"""Preferences between completions whose gold scores are known, with as much label noise as is asked for."""

import dataclasses
from typing import Literal

import numpy as np

from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Labels:
    """How a simulated rater orders completions.

    Attributes:
      noise: "none" orders by gold score, ties at random; "flip" turns a pair round with probability `flip`; "bradley_terry" draws the order from
        the Bradley-Terry model (Plackett-Luce of more than two) with log-odds (s_i - s_j) / temperature.
      flip: probability of a wrong label, below 1/2 for labels that still say something.
      temperature: in units of the gold score.
    """

    noise: Literal["none", "flip", "bradley_terry"] = "none"
    flip: float = 0.0
    temperature: float = 1.0

    def __post_init__(self):
        """See the base class."""
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"Labels.flip is {self.flip}", "give a probability between 0 and 1")
        if not self.temperature > 0:
            raise ConfigError(f"Labels.temperature is {self.temperature}", "give a positive temperature")


def preferred_order(scores_NxK: np.ndarray, labels: Labels, generator: np.random.Generator) -> np.ndarray:
    """The order in which a simulated rater puts K completions of each of N prompts.

    Sorting s / temperature plus independent standard Gumbel noise draws from Plackett-Luce exactly, and from Bradley-Terry where K = 2 (Yellott 1977).

    Args:
      scores_NxK: gold scores.
      labels: the rater.
      generator: draws the noise and breaks ties.

    Returns:
      int64 [N, K], indices of completions, the preferred one first.

    Raises:
      ConfigError: "flip" is asked for where K is not 2.
    """
    scores_NxK = np.asarray(scores_NxK, np.float64)
    if labels.noise == "bradley_terry":
        noisy_NxK = scores_NxK / labels.temperature + generator.gumbel(size=scores_NxK.shape)
        return np.argsort(-noisy_NxK, axis=1, kind="stable")
    # The last key of lexsort is the first criterion.
    order_NxK = np.lexsort((generator.random(scores_NxK.shape), -scores_NxK), axis=1)
    if labels.noise == "flip":
        if scores_NxK.shape[1] != 2:
            raise ConfigError(
                f"Labels.noise 'flip' turns pairs round, but there are {scores_NxK.shape[1]} completions",
                "write pairs, or choose the noise 'bradley_terry'",
            )
        flipped_N = generator.random(len(order_NxK)) < labels.flip
        order_NxK[flipped_N] = order_NxK[flipped_N, ::-1]
    return order_NxK
