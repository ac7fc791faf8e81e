"""Pairs labelled by a simulated judge that sees one completion first and the other second, as a language model does that is asked which is better."""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special

from align.statistics.judges import SwappedVerdicts, swapped
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class OrderedJudge:
    """How the judge decides: for the completion that stands first with log-odds (s_first - s_second) / temperature + position.

    Attributes:
      position: what standing first adds to the log-odds; 0 for a fair judge.
      temperature: in units of the gold score.
      orders: "both" asks for every pair twice, the sides swapped, and leaves out the pairs on which the answers differ (Zheng et al. 2023,
        arXiv:2306.05685); "one" believes the first answer.
    """

    position: float = 0.0
    temperature: float = 1.0
    orders: Literal["both", "one"] = "both"

    def __post_init__(self):
        if not self.temperature > 0:
            raise ConfigError(f"OrderedJudge.temperature is {self.temperature}", "give a positive temperature")


class Judged(NamedTuple):
    """What the judge said of N pairs.

    Attributes:
      order_Nx2: int64, indices of the sides, the preferred one first.
      tied_N: bool, whether the pair is left out.
      verdicts: of both orders, the first side being A.
    """

    order_Nx2: np.ndarray
    tied_N: np.ndarray
    verdicts: SwappedVerdicts


def judged(scores_Nx2: np.ndarray, judge: OrderedJudge, generator: np.random.Generator) -> Judged:
    """Asks the judge.

    Args:
      scores_Nx2: gold scores of both sides.
      judge: how it decides.
      generator: draws its answers.
    """
    difference_N = (scores_Nx2[:, 0] - scores_Nx2[:, 1]) / judge.temperature
    draws_2xN = generator.random((2, len(scores_Nx2)))
    a_when_first_N = draws_2xN[0] < special.expit(difference_N + judge.position)
    a_when_second_N = draws_2xN[1] < special.expit(difference_N - judge.position)
    disagree_N = a_when_first_N != a_when_second_N
    return Judged(
        np.where(a_when_first_N[:, None], [[0, 1]], [[1, 0]]),
        disagree_N if judge.orders == "both" else np.zeros_like(disagree_N),
        swapped(*(np.where(wins_N, 1, -1) for wins_N in (a_when_first_N, a_when_second_N))),
    )


def summary(verdicts: SwappedVerdicts) -> dict[str, Any]:
    """What a store's manifest says of its judge; null where an order was unanimous."""
    logit = verdicts.position_logit
    return {
        "pairs": verdicts.win_rate.prompts,
        "consistency": verdicts.consistency,
        "position_bias": verdicts.position_bias,
        "position_logit": logit if np.isfinite(logit) else None,
        "position_test": verdicts.position_test,
    }
