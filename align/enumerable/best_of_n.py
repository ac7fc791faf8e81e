"""Best-of-n on an enumerated space, ties and all, as a distribution over completions."""

import numpy as np


def best_of_n_log_probs(reference_S: np.ndarray, scores_S: np.ndarray, n: float) -> np.ndarray:
    """log-probabilities, [S] in float64, of the best of n independent samples by score, ties broken at random.

    A score level q is the highest of n with probability F(q)^n - F_-(q)^n, F the distribution function of the scores under the reference and F_- its limit from
    below; within a level completions keep their relative probabilities. The KL from the reference is at most log n - (n - 1) / n, with equality for continuous
    scores.

    Args:
      reference_S: log-probabilities of the policy that is sampled.
      scores_S: what the best is chosen by (the proxy reward).
      n: samples, at least 1.
    """
    reference_S = np.asarray(reference_S, np.float64)
    _, level_S = np.unique(np.asarray(scores_S, np.float64), return_inverse=True)
    mass_Q = np.bincount(level_S, weights=np.exp(reference_S))
    # From the top, so that the mass above a level keeps its digits where F is near 1.
    above_Q = np.concatenate([np.cumsum(mass_Q[::-1])[::-1][1:], [0.0]])
    below_or_at_Q = np.minimum(np.cumsum(mass_Q), 1.0)
    with np.errstate(divide="ignore"):
        log_at_Q = np.where(above_Q < 0.5, np.log1p(-above_Q), np.log(below_or_at_Q))
        log_below_Q = np.concatenate([[-np.inf], log_at_Q[:-1]])
        log_share_Q = n * log_at_Q + np.log(-np.expm1(n * (log_below_Q - log_at_Q)))
        return reference_S + (log_share_Q - np.log(mass_Q))[level_S]
