"""Stretches intervals until they cover what rollouts show that they must (split conformal prediction, Lei et al. 2018).

A prediction's nonconformity is its error over the half-width, on its side of the median, of the interval it was given; the
weighted quantile of those of the rollouts is the factor by which a new interval is stretched (Tibshirani et al. 2019,
arXiv:1904.06019, for weights). Two things differ from exchangeable data. Errors grow with the distance beyond the fit, so
rollout predictions count by how near their distance is to the one that is asked for. And predictions of one rollout share the
errors of one fit, so the effective sample is the number of rollouts: the factor is drawn towards one, in proportion to how few.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Pseudo-rollouts that say that the intervals are right as they are.
PRIOR = 6.0
# In units of ln C: distances within a factor e of compute of each other are alike.
_ALIKE = 1.0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Nonconformity of M rollout predictions.

    Attributes:
      score_M: error over half-width.
      distance_M: ln C beyond the dearest run of the fit.
      window_M: the rollout of each.
      level: nominal coverage of the intervals that the scores belong to.
    """

    score_M: FloatArray
    distance_M: FloatArray
    window_M: npt.NDArray[np.int64]
    level: float

    def factor(self, distance_Q: FloatArray) -> FloatArray:
        """By what to stretch the intervals of runs at these distances, float64[Q]; one where there were no rollouts."""
        if not len(self.score_M):
            return np.ones(len(distance_Q))
        windows = len(np.unique(self.window_M))
        trust = windows / (windows + PRIOR)
        apart_QxM = np.abs(np.asarray(distance_Q)[:, None] - self.distance_M[None])
        # Beyond the farthest rollout its farthest predictions are the nearest there are.
        apart_QxM -= apart_QxM.min(axis=1, keepdims=True)
        _, group_M, size_G = np.unique(self.window_M, return_inverse=True, return_counts=True)
        weight_QxM = np.exp(-apart_QxM / _ALIKE) / size_G[group_M]
        return np.array([weighted_quantile(self.score_M, weight_M, self.level) ** trust for weight_M in weight_QxM])


def weighted_quantile(value_M: FloatArray, weight_M: FloatArray, chance: float) -> float:
    """The smallest value below which at least this share of the weight lies; the largest where the sample is too small for more.

    The new observation counts as one more of average weight, which gives the finite-sample guarantee for exchangeable values.
    """
    order = np.argsort(value_M, kind="stable")
    cumulative = np.cumsum(weight_M[order])
    wanted = chance * (cumulative[-1] + weight_M.mean())
    return float(value_M[order][min(np.searchsorted(cumulative, wanted * (1 - 1e-12)), len(value_M) - 1)])
