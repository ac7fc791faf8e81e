"""The RLHF objective on an enumerated space, and its optimum in closed form. NumPy in float64; distributions are log-probabilities [S].

    J(pi) = E_pi[r] - beta KL(pi || ref)        pi* = ref exp(r / beta) / Z        J(pi*) = beta log Z

(Ziegler et al. 2019, section 2.1; Rafailov et al. 2023, eq. 3 and 4).
"""

import numpy as np
from scipy.special import logsumexp


def expectation(log_probs_S: np.ndarray, values_S: np.ndarray) -> float:
    """E_pi[values]."""
    return float(np.sum(np.exp(_wide(log_probs_S)) * _wide(values_S)))


def kl(log_probs_S: np.ndarray, reference_S: np.ndarray) -> float:
    """KL(pi || ref) in nats; infinite where pi leaves the support of ref."""
    log_probs_S, reference_S = _wide(log_probs_S), _wide(reference_S)
    held = log_probs_S > -np.inf
    return float(np.sum(np.exp(log_probs_S[held]) * (log_probs_S[held] - reference_S[held])))


def objective(log_probs_S: np.ndarray, reference_S: np.ndarray, rewards_S: np.ndarray, beta: float) -> float:
    """J(pi) = E_pi[r] - beta KL(pi || ref)."""
    return expectation(log_probs_S, rewards_S) - beta * kl(log_probs_S, reference_S)


def log_partition(reference_S: np.ndarray, rewards_S: np.ndarray, beta: float) -> float:
    """log Z = log E_ref[exp(r / beta)]."""
    return float(logsumexp(_wide(reference_S) + _wide(rewards_S) / beta))


def optimal_log_probs(reference_S: np.ndarray, rewards_S: np.ndarray, beta: float) -> np.ndarray:
    """log pi* = log ref + r / beta - log Z: [S]."""
    return _wide(reference_S) + _wide(rewards_S) / beta - log_partition(reference_S, rewards_S, beta)


def attained(log_probs_S: np.ndarray, reference_S: np.ndarray, rewards_S: np.ndarray, beta: float) -> float:
    """The share of what can be gained that a policy gains: (J(pi) - J(ref)) / (J(pi*) - J(ref)); 1 at the optimum, 0 at the reference."""
    start = objective(reference_S, reference_S, rewards_S, beta)
    best = beta * log_partition(reference_S, rewards_S, beta)
    return (objective(log_probs_S, reference_S, rewards_S, beta) - start) / (best - start)


def _wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64)
