"""Bias-corrected and accelerated intervals (BCa): percentiles of the replicates at levels that their bias and skewness ask for.

Efron 1987 (*Better bootstrap confidence intervals*, JASA 82), eq. 2.3 for the bias correction and Davison and Hinkley 1997, eq. 5.45
for the acceleration by a jackknife over clusters.
"""

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import Objective
from analysis.laws.forms.form import Form

FloatArray = npt.NDArray[np.float64]


def leave_one_out(
    form: Form,
    x_KxV: FloatArray,
    y_K: FloatArray,
    w_K: FloatArray,
    theta_P: FloatArray,
    cluster_K: npt.NDArray[np.int64],
    objective: Objective,
) -> FloatArray:
    """Refits without every cluster in turn, in one call of the engine, float64[G', P]; refits that found no optimum are left out.

    Args:
      form: the law's form.
      x_KxV: centred variables.
      y_K: responses.
      w_K: weights.
      theta_P: the optimum of all runs.
      cluster_K: the cluster of every run, 0 to G − 1.
      objective: what is minimised.
    """
    w_GxK = np.where(cluster_K[None] == np.arange(cluster_K.max() + 1)[:, None], 0.0, w_K)
    start_GxP = np.tile(theta_P, (len(w_GxK), 1))
    found = solve.descend(form, objective, x_KxV, y_K[None], w_GxK, start_GxP, form.bounds(y_K))
    return found.theta[found.accepted]


def bias_correction(value: float, replicates_R: FloatArray) -> float:
    """z0: the normal quantile of the share of replicates below the estimate; ties count by half."""
    below = np.mean(replicates_R < value) + 0.5 * np.mean(replicates_R == value)
    # All replicates on one side leave nothing to correct with.
    edge = 0.5 / len(replicates_R)
    return float(stats.norm.ppf(np.clip(below, edge, 1 - edge)))


def acceleration(jackknife_G: FloatArray) -> float:
    """A sixth of the skewness of the influence of the clusters; zero where they have none."""
    influence_G = jackknife_G.mean() - jackknife_G
    spread = float(np.sum(influence_G**2))
    return float(np.sum(influence_G**3)) / (6 * spread**1.5) if spread > 0 else 0.0


def levels(z0: float, acceleration: float, level: float) -> tuple[float, float]:
    """The two shares at which percentiles are read for a nominal coverage of `level`."""
    z_2 = z0 + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = stats.norm.cdf(z0 + z_2 / (1 - acceleration * z_2))
    return float(low), float(high)


def interval(value: float, replicates_R: FloatArray, jackknife_G: FloatArray, level: float) -> tuple[float, float]:
    """The BCa interval of one number.

    Args:
      value: its estimate.
      replicates_R: its bootstrap replicates.
      jackknife_G: its estimates without each cluster.
      level: nominal coverage.
    """
    shares = levels(bias_correction(value, replicates_R), acceleration(jackknife_G), level)
    low, high = np.quantile(replicates_R, shares)
    return float(low), float(high)
