"""The decision that the runs are made for: how many parameters to train at a target budget, and what a wrong choice costs."""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.optima.optimal import SIX_N, Cost
from analysis.laws.planning.posterior import Posterior

FloatArray = npt.NDArray[np.float64]

# Tokens per parameter of any model that somebody would train.
_FEWEST_RATIO, _MOST_RATIO = 0.1, 1e4
_CHOICES = 97
_SOLVE_STEPS = 60
# No form holds over decades to the level of a run's noise; how much faster than noise the law's error grows, per factor e in compute below
# the target. LABLOG.md, "Which runs to make next", has the comparison with 0 and 0.3.
DRIFT = 0.15


@dataclasses.dataclass(frozen=True)
class Decision:
    """A choice of N at a budget of training FLOPs; D is what the budget then buys.

    Attributes:
      log_flops: ln C of the budget, by the table's convention.
      log_params: ln N of the choices, ascending, float64[Q].
      log_tokens: ln D = ln C − ln(FLOPs per token at N), float64[Q].
      log_cost: ln(FLOPs per token) as a function of ln N.
    """

    log_flops: float
    log_params: FloatArray
    log_tokens: FloatArray
    log_cost: Cost

    def spread(self, log_flops: FloatArray) -> FloatArray:
        """How many times a run's noise its loss may stray from the law that holds at the target, at ln C of runs, float64[K]."""
        return np.sqrt(1.0 + (DRIFT * np.maximum(self.log_flops - log_flops, 0.0)) ** 2)

    def regret(self, posterior: Posterior) -> FloatArray:
        """L(N, D) − min over N of L(N, D), in nats per token, of every draw and choice, float64[S, Q]."""
        loss_SxQ = np.exp(posterior.log_loss(self.log_params, self.log_tokens))
        return loss_SxQ - loss_SxQ.min(axis=1, keepdims=True)

    def best(self, posterior: Posterior) -> tuple[int, float]:
        """Index of the choice of least expected regret, and that regret in nats per token."""
        expected_Q = self.regret(posterior).mean(axis=0)
        index = int(np.argmin(expected_Q))
        return index, float(expected_Q[index])


def decision_at(flops: float, cost: Cost = SIX_N) -> Decision:
    """The choices at a budget: models of 0.1 to 10,000 tokens per parameter, spaced by equal ratios.

    Args:
      flops: C of the target.
      cost: FLOPs of a token as a function of N (:func:`analysis.laws.optima.optimal.cost_of`).
    """
    log_flops = float(np.log(flops))
    ends = [_size_with_ratio(log_flops, cost, np.log(ratio)) for ratio in (_MOST_RATIO, _FEWEST_RATIO)]
    log_n_Q = np.linspace(*ends, _CHOICES)
    return Decision(log_flops, log_n_Q, log_flops - cost(log_n_Q), cost)


def _size_with_ratio(log_flops: float, cost: Cost, log_ratio: float) -> float:
    """ln N with D/N as given: bisection of ln C − ln cost(N) − ln N, which falls in N."""
    middle = 0.5 * (log_flops - np.log(6.0) - log_ratio)
    low, high = middle - 10.0, middle + 10.0
    for _ in range(_SOLVE_STEPS):
        middle = 0.5 * (low + high)
        ratio = log_flops - float(cost(np.array([middle]))[0]) - middle
        low, high = (middle, high) if ratio > log_ratio else (low, middle)
    return middle
