"""Best-of-n from samples that were drawn once: its reward for every n, and its distance from the policy that was sampled.

The policy "best of n" draws n completions, and keeps the one that the proxy reward ranks first; among equals, one at random. N >= n samples of a
prompt tell of it without drawing again: the sample of rank i (1 is the lowest proxy) wins in C(i-1, n-1) of the C(N, n) subsets of n, so
Σ_i C(i-1, n-1)/C(N, n) · gold_i is the mean over all subsets, which is unbiased (Nakano et al. 2021, arXiv:2112.09332; the same
counting as pass@k of Chen et al. 2021, arXiv:2107.03374).

How far it moves depends on ties alone. Where F is the proxy's distribution function under the policy and F_- its left limit, best-of-n gives a
value of the proxy the probability F^n - F_-^n, and what has that value keeps its shares; so KL = Σ q ln(q/p) over the proxy's values. Without ties
this is ln n - (n-1)/n, and ties only lower it (Beirami et al. 2024, arXiv:2401.01879).
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class PromptMean:
    """A mean over prompts.

    Attributes:
      value: the mean.
      standard_error: over prompts, which are what is independent; NaN for a single prompt. It holds the noise of the samples too.
      by_prompt: float64 [P].
    """

    value: float
    standard_error: float
    by_prompt: FloatArray

    @classmethod
    def of(cls, value_P: FloatArray) -> "PromptMean":
        """The mean of one number a prompt."""
        error = float(value_P.std(ddof=1) / np.sqrt(len(value_P))) if len(value_P) > 1 else float("nan")
        return cls(float(value_P.mean()), error, value_P)


def rank_weights(samples: int, n: int) -> FloatArray:
    """The probability that each rank wins, C(i-1, n-1)/C(N, n) for i = 1..N; float64 [N], summing to 1.

    Ratios of neighbours, (i-n)/(i-1), are multiplied as logarithms from w_N = n/N downwards, so nothing overflows: exact to 1e-12 at N = 10^4.

    Raises:
      DataError: n is not between 1 and the number of samples.
    """
    if not 1 <= n <= samples:
        raise DataError(f"best of {n} cannot be estimated from {samples} samples", "choose 1 <= n <= samples")
    log_weight_N = np.full(samples, -np.inf)
    rank = np.arange(samples, n, -1, dtype=np.float64)
    log_weight_N[n - 1 :] = (np.log(n / samples) + np.append(0.0, np.cumsum(np.log((rank - n) / (rank - 1)))))[::-1]
    return np.exp(log_weight_N)


def expected_reward(proxy_PxN: FloatArray, gold_PxN: FloatArray, n: int) -> PromptMean:
    """The mean gold reward of best-of-n by the proxy, without bias.

    Args:
      proxy_PxN: proxy rewards of N samples for each of P prompts.
      gold_PxN: gold rewards of the same samples; the proxy again gives what best-of-n does to the proxy.
      n: samples that best-of-n may choose from.

    Raises:
      DataError: shapes differ, a reward is not finite, or n exceeds N.
    """
    proxy_PxN, gold_PxN = _checked(proxy_PxN, "proxy"), _checked(gold_PxN, "gold")
    if proxy_PxN.shape != gold_PxN.shape:
        raise DataError(
            f"proxy rewards have the shape {proxy_PxN.shape} and gold rewards {gold_PxN.shape}",
            "score the same samples by both",
        )
    weight_N = rank_weights(proxy_PxN.shape[1], n)
    order_PxN = np.argsort(proxy_PxN, axis=1, kind="stable")
    ranked_PxN = np.take_along_axis(proxy_PxN, order_PxN, axis=1)
    weight_PxN = np.stack([_shared_among_ties(ranked_N, weight_N) for ranked_N in ranked_PxN])
    return PromptMean.of((weight_PxN * np.take_along_axis(gold_PxN, order_PxN, axis=1)).sum(axis=1))


def _shared_among_ties(ranked_N: FloatArray, weight_N: FloatArray) -> FloatArray:
    """Every member of a tie gets the tie's mean weight: the average over the orders in which it could have been ranked."""
    first = np.flatnonzero(np.append(True, np.diff(ranked_N) > 0))
    size = np.diff(np.append(first, len(ranked_N)))
    return np.repeat(np.add.reduceat(weight_N, first) / size, size)


def kl_bound(n: npt.ArrayLike) -> FloatArray:
    """ln n - (n-1)/n nats: the KL of best-of-n from the policy where no two completions tie, and a bound where some do."""
    n = np.asarray(n, np.float64)
    return np.log(n) - (n - 1) / n


def distribution(probability_Y: FloatArray, score_Y: FloatArray, n: int) -> FloatArray:
    """What best-of-n samples from, float64 [Y], over outcomes that can be listed; ties are broken at random.

    Args:
      probability_Y: of the outcomes under the policy, summing to 1.
      score_Y: their proxy rewards; equal scores tie.
      n: samples that it chooses from.

    Raises:
      DataError: the probabilities are negative or do not sum to 1.
    """
    probability_Y, level_Y = _probabilities(probability_Y), np.unique(score_Y, return_inverse=True)[1]
    mass_L = np.bincount(level_Y, probability_Y)
    with np.errstate(divide="ignore", invalid="ignore"):
        # An outcome of probability zero stays there, whatever its level.
        share_Y = np.where(probability_Y > 0, probability_Y / mass_L[level_Y], 0.0)
    return share_Y * _level_probabilities(mass_L, n)[level_Y]


def kl_exact(probability_Y: FloatArray, score_Y: FloatArray, n: int) -> float:
    """KL(best-of-n || policy) in nats over outcomes that can be listed, ties included; never above :func:`kl_bound`. Raises DataError as
    :func:`distribution`."""
    mass_L = np.bincount(np.unique(score_Y, return_inverse=True)[1], _probabilities(probability_Y))
    chosen_L = _level_probabilities(mass_L, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sum(np.where(chosen_L > 0, chosen_L * np.log(chosen_L / mass_L), 0.0)))


def kl_from_scores(proxy_PxN: FloatArray, n: int) -> tuple[PromptMean, PromptMean]:
    """KL(best-of-n || policy) in nats from the proxy's values alone: no log-probabilities are needed, because it depends on ties alone.

    A value that several samples of a prompt share is an atom of the mass that was seen. One that was seen once may be an atom or one of a continuum;
    the two readings bracket the truth, up to the noise of the masses.

    Args:
      proxy_PxN: proxy rewards of N samples for each of P prompts; equal values tie.
      n: samples that best-of-n chooses from; far below N, or the brackets are wide.

    Returns:
      The estimate that takes single values as a continuum (without any tie it is :func:`kl_bound`), and the lower one that takes them as atoms.
    """
    proxy_PxN = _checked(proxy_PxN, "proxy")
    if n < 1:
        raise DataError(f"best of {n} does not exist", "choose n >= 1")
    both_Px2 = np.array([_kl_of_scores(score_N, n) for score_N in proxy_PxN])
    return PromptMean.of(both_Px2[:, 0]), PromptMean.of(both_Px2[:, 1])


def _kl_of_scores(score_N: FloatArray, n: int) -> tuple[float, float]:
    if n == 1:
        return 0.0, 0.0  # the policy itself, to the last bit
    count_L = np.unique(score_N, return_counts=True)[1]
    mass_L = count_L / len(score_N)
    chosen_L = _level_probabilities(mass_L, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        atom_L = np.where(chosen_L > 0, chosen_L * np.log(chosen_L / mass_L), 0.0)
    upper_L = np.cumsum(mass_L)
    # ∫ n u^(n-1) ln(n u^(n-1)) du between the distribution function's values on either side.
    continuum_L = _continuum(upper_L, n) - _continuum(np.append(0.0, upper_L[:-1]), n)
    return float(np.where(count_L > 1, atom_L, continuum_L).sum()), float(atom_L.sum())


def _continuum(u_L: FloatArray, n: int) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(u_L > 0, u_L**n * (np.log(n) + (n - 1) * np.log(u_L) - (n - 1) / n), 0.0)


def _level_probabilities(mass_L: FloatArray, n: int) -> FloatArray:
    """F^n - F_-^n of ascending levels, as F^n (1 - (F_-/F)^n), which keeps the digits of small masses."""
    upper_L = np.cumsum(mass_L)
    upper_L /= upper_L[-1]
    lower_L = np.append(0.0, upper_L[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mass_L > 0, -(upper_L**n) * np.expm1(n * np.log(lower_L / upper_L)), 0.0)


def _probabilities(probability_Y: FloatArray) -> FloatArray:
    probability_Y = np.asarray(probability_Y, np.float64)
    if (probability_Y < 0).any() or not abs(probability_Y.sum() - 1) < 1e-6:
        raise DataError(
            f"probabilities sum to {probability_Y.sum():.6g}, the least being {probability_Y.min():.3g}",
            "normalise them",
        )
    return probability_Y


def _checked(reward_PxN: FloatArray, name: str) -> FloatArray:
    reward_PxN = np.asarray(reward_PxN, np.float64)
    if reward_PxN.ndim != 2 or not reward_PxN.size:
        raise DataError(
            f"{name} rewards have the shape {reward_PxN.shape}", "give one row a prompt, one column a sample"
        )
    broken = np.argwhere(~np.isfinite(reward_PxN))
    if len(broken):
        prompt, sample = broken[0]
        raise DataError(
            f"{len(broken)} {name} rewards are not finite, the first of prompt {prompt}, sample {sample}",
            "mend the reward, or leave these prompts out",
        )
    return reward_PxN
