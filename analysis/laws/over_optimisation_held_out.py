"""Whether an over-optimisation law fitted near the initial policy foretells what happens further away."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.laws import over_optimisation
from analysis.laws.errors import TableError
from analysis.laws.forms import over_optimisation as forms
from analysis.laws.forms.form import evaluate
from analysis.laws.over_optimisation import Points
from analysis.laws.result import Result, finite

FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A law of the points up to a distance, and the points beyond it.

    Attributes:
      cut: the largest distance in the fit.
      law: fitted up to the cut.
      beyond: the points that were held out.
      predicted_K, low_K, high_K: of their rewards; intervals for a point of a run like those of the fit.
      level: of the intervals.
    """

    cut: float
    law: Result
    beyond: Points
    predicted_K: FloatArray
    low_K: FloatArray
    high_K: FloatArray
    level: float

    @property
    def covered(self) -> float:
        """Share of the held-out points inside their intervals."""
        return float(np.mean((self.low_K <= self.beyond.reward_K) & (self.beyond.reward_K <= self.high_K)))

    @property
    def bias(self) -> float:
        """Mean of measured minus predicted: above zero the law foretold too early a decline."""
        return float(np.mean(self.beyond.reward_K - self.predicted_K))

    @property
    def error(self) -> float:
        """Root mean square of measured minus predicted."""
        return float(np.sqrt(np.mean((self.beyond.reward_K - self.predicted_K) ** 2)))

    def in_words(self) -> str:
        """One sentence."""
        return (
            f"fitted to d up to {self.cut:.3g}, it predicts {len(self.predicted_K)} points up to d = {self.beyond.distance_K.max():.3g} with an error of "
            f"{self.error:.3g} (bias {self.bias:+.3g}); {100 * self.covered:.0f}% lie in their {100 * self.level:.0f}% intervals"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "cut": self.cut, "points": len(self.predicted_K), "furthest": float(self.beyond.distance_K.max()), "error": finite(self.error),
            "bias": finite(self.bias), "covered": self.covered, "level": self.level,
            "peak_distance": self.law.derived["peak_distance"].to_json(),
        }  # fmt: skip


def predict_beyond(
    frame: pd.DataFrame,
    method: str,
    cut: float | None = None,
    level: float = 0.9,
    rng: np.random.Generator | None = None,
    response: str = "gold_reward",
) -> HeldOut:
    """Fits the points with d <= cut and predicts those beyond it.

    Args:
      frame: as for :func:`analysis.laws.over_optimisation.fit`.
      method: likewise.
      cut: a distance, sqrt(KL); None takes the median of the points' distances.
      level: of the intervals, which hold the law's uncertainty, that of a run around the law and that of a measurement.
      rng: of the law's draws.
      response: the column of the reward.

    Raises:
      TableError: as for the fit, or no point lies beyond the cut.
    """
    table = over_optimisation.points(frame, method, response)
    cut = float(np.median(table.distance_K)) if cut is None else cut
    near_K = table.distance_K <= cut
    if near_K.all() or near_K.sum() < 4:
        raise TableError(
            f"{int(near_K.sum())} of {len(near_K)} points lie up to d = {cut:.3g}",
            "choose a cut with at least four points before it and one beyond it",
        )
    law = over_optimisation.fit_points(table.kept(near_K), method, 0, level, rng)
    beyond, solved, form = table.kept(~near_K), law.details["fit"], law.details["form"]
    x_KxP = forms.basis(form, beyond.distance_K)
    predicted_K = evaluate(form, law.theta[None], np.log(beyond.distance_K)[:, None])[0]
    quantile_K = np.array([solved.quantile(contrast_P, level) for contrast_P in x_KxP])
    variance_K = np.array([solved.error(contrast_P) ** 2 for contrast_P in x_KxP])
    half_K = quantile_K * np.sqrt(
        variance_K + _of_a_point(variance_K, table.kept(near_K), beyond, solved.residual_variance)
    )
    return HeldOut(cut, law, beyond, predicted_K, predicted_K - half_K, predicted_K + half_K, level)


def predict_mean_beyond(
    frame: pd.DataFrame,
    method: str,
    cut: float | None = None,
    level: float = 0.9,
    rng: np.random.Generator | None = None,
    response: str = "gold_reward",
) -> HeldOut:
    """The same where every cluster is measured at the same distances, as the prompts of one best-of-n are: the mean over clusters is predicted.

    A fit to such points is the mean of the clusters' own fits, so what it misses beyond the cut is the mean of what these miss, and its interval a
    t interval over clusters, whatever the points of one have in common.

    Args:
      frame: as for :func:`predict_beyond`, with a column `cluster`.
      method: likewise.
      cut: likewise; None takes the median of the distinct distances.
      level: of the intervals of the measured means around the predicted ones.
      rng: likewise.
      response: likewise.

    Raises:
      TableError: as for the fit, a cluster lacks a distance, or there are fewer than three distances up to the cut or none beyond it.
    """
    table = over_optimisation.points(frame, method, response)
    distance_D, place_K = np.unique(table.distance_K, return_inverse=True)
    if len(place_K) != len(distance_D) * table.clusters or table.clusters < 2:
        raise TableError("the clusters are not measured at the same distances", "predict their points instead")
    reward_CxD = np.full((table.clusters, len(distance_D)), np.nan)
    reward_CxD[table.cluster_K, place_K] = table.reward_K
    cut = float(np.median(distance_D)) if cut is None else cut
    near_D = distance_D <= cut
    if not np.isfinite(reward_CxD).all() or near_D.all() or near_D.sum() < 3:
        raise TableError(
            f"{int(near_D.sum())} of {len(distance_D)} distances lie up to d = {cut:.3g}",
            "choose a cut with at least three distances before it and one beyond it",
        )
    law = over_optimisation.fit_points(table.kept(near_D[place_K]), method, 0, level, rng, "prompts")
    x_DxP = forms.basis(law.details["form"], distance_D)
    theta_CxP = np.linalg.lstsq(x_DxP[near_D], reward_CxD[:, near_D].T, rcond=None)[0].T
    missed_CxF = reward_CxD[:, ~near_D] - theta_CxP @ x_DxP[~near_D].T
    half_F = stats.t.ppf((1 + level) / 2, table.clusters - 1) * _error_of_mean(missed_CxF)
    measured_F, errors_F = reward_CxD[:, ~near_D].mean(axis=0), _error_of_mean(reward_CxD[:, ~near_D])
    predicted_F = measured_F - missed_CxF.mean(axis=0)
    beyond = Points(
        distance_D[~near_D], measured_F, np.ones(len(measured_F)), errors_F, np.zeros(len(measured_F), np.int64)
    )
    return HeldOut(cut, law, beyond, predicted_F, predicted_F - half_F, predicted_F + half_F, level)


def _error_of_mean(value_CxF: FloatArray) -> FloatArray:
    return value_CxF.std(axis=0, ddof=1) / np.sqrt(len(value_CxF))


def _of_a_point(variance_K: FloatArray, near: Points, beyond: Points, residual_variance: float) -> FloatArray:
    """The variance of a point around the law.

    The law is the mean of the runs, so a run's own curve varies as many times more as there are runs; the measurement's error comes on top. With one
    run only the scatter of points around its curve is known.
    """
    if near.clusters == 1:
        return residual_variance / beyond.weight_K
    return variance_K * near.clusters + np.nan_to_num(beyond.error_K) ** 2
