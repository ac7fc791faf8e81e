"""Intervals of shares and means: Wilson, Clopper and Pearson, and the bootstrap over clusters."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]


def wilson(successes: float, trials: int, level: float = 0.95) -> Interval:
    """The score interval of a share (Wilson 1927). Half successes (ties) are allowed and make it conservative, for a half varies less than a coin.

    Raises:
      DataError: there are no trials, or more successes than trials.
    """
    _checked(successes, trials)
    z = stats.norm.ppf((1 + level) / 2)
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    # Where nothing or everything succeeded the bound is 0 or 1, whatever rounding says.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == trials else (centre + half) / scale
    return float(low), float(high)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """The exact interval of a share (Clopper and Pearson 1934): it never covers less than its level. Raises DataError as :func:`wilson`."""
    _checked(successes, trials)
    found = stats.binomtest(successes, trials).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def clustered_bootstrap(
    value_K: FloatArray,
    cluster_K: npt.ArrayLike,
    level: float = 0.95,
    draws: int = 2000,
    rng: np.random.Generator | None = None,
) -> Interval:
    """Percentile interval of the mean of values that come in clusters (several comparisons of one prompt): whole clusters are drawn.

    The mean weighs values, not clusters. Below about 30 clusters percentile intervals cover too little.

    Raises:
      DataError: there are fewer than two clusters.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    value_K, code_K = np.asarray(value_K, np.float64), np.unique(np.asarray(cluster_K), return_inverse=True)[1]
    clusters = int(code_K.max()) + 1 if len(code_K) else 0
    if clusters < 2:
        raise DataError(f"{clusters} cluster of values", "an interval over clusters needs at least two")
    total_C, count_C = np.bincount(code_K, value_K), np.bincount(code_K)
    chosen_DxC = rng.integers(clusters, size=(draws, clusters))
    mean_D = total_C[chosen_DxC].sum(axis=1) / count_C[chosen_DxC].sum(axis=1)
    low, high = np.quantile(mean_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(successes: float, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise DataError(f"{successes} successes of {trials} trials", "count at least one trial, and no more successes")
