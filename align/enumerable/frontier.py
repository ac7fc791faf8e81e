"""The exact reward-KL curve: the highest reward that any policy can have at a given KL from the reference."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from align.enumerable.optimum import expectation, kl, optimal_log_probs


class Frontier(NamedTuple):
    """Points of the curve, one for each beta.

    Attributes:
      betas: float64 [P].
      kl: float64 [P], KL(pi* || ref) in nats.
      reward: float64 [P], E_pi*[r].
    """

    betas: np.ndarray
    kl: np.ndarray
    reward: np.ndarray


def pareto_curve(reference_S: np.ndarray, rewards_S: np.ndarray, betas: np.ndarray) -> Frontier:
    """The optimal policies of these betas: no policy of the same KL has a higher reward, and none of the same reward a lower KL."""
    policies = [optimal_log_probs(reference_S, rewards_S, beta) for beta in betas]
    return Frontier(
        np.asarray(betas, np.float64),
        np.array([kl(policy, reference_S) for policy in policies]),
        np.array([expectation(policy, rewards_S) for policy in policies]),
    )


def largest_kl(reference_S: np.ndarray, rewards_S: np.ndarray) -> float:
    """-log ref(completions of the highest reward): the KL at which the curve ends, in nats."""
    rewards_S = np.asarray(rewards_S, np.float64)
    best = rewards_S == rewards_S.max()
    return float(-np.log(np.sum(np.exp(np.asarray(reference_S, np.float64)[best]))))


def best_reward(reference_S: np.ndarray, rewards_S: np.ndarray, nats: float) -> float:
    """The highest E_pi[r] with KL(pi || ref) of at most `nats`; the beta that spends them is found by bisection on its logarithm."""
    rewards_S = np.asarray(rewards_S, np.float64)
    # Counted from the highest, so that small differences near the top survive the division by a small beta.
    gaps_S = rewards_S - rewards_S.max()
    spread = -gaps_S.min()
    if nats >= largest_kl(reference_S, rewards_S):
        return float(rewards_S.max())
    if nats <= 0 or spread == 0:
        return expectation(reference_S, rewards_S)

    def missing(log_beta: float) -> float:
        return kl(optimal_log_probs(reference_S, gaps_S, np.exp(log_beta)), reference_S) - nats

    # KL falls from its largest value to 0 as beta grows: it is at most variance / (2 beta^2), up to higher orders.
    least, most = np.log(spread) - 12, np.log(spread) + max(12.0, -np.log(nats))
    while missing(least) <= 0:
        least -= 12
    log_beta = brentq(missing, least, most, xtol=1e-13, rtol=1e-13)
    return expectation(optimal_log_probs(reference_S, gaps_S, np.exp(log_beta)), rewards_S)
