"""The forecaster: candidates weighted by rollouts, with an interval calibrated on what the same mixture missed in them.

1. Rollouts: every candidate is fitted to the cheapest 40, 50, ... 90% of the runs and predicts the rest.
2. Weights: error^−4, of the mean absolute error over windows of which each counts twice as much as the one before, for the last
   is nearest to the forecast. Between averaging, which keeps bad forms, and selecting, which follows noise.
3. The mixture's own errors in those rollouts calibrate its interval (:mod:`analysis.laws.forecasts.calibration`).
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.forecasts import calibration, contenders
from analysis.laws.forecasts.calibration import Errors, Scale
from analysis.laws.forecasts.contenders import CANDIDATES, Fits, Points

FloatArray = npt.NDArray[np.float64]

FRACTIONS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_FEWEST_TO_FIT = 12
_FEWEST_ERRORS = 6
_WINDOWS = 2
_SHARPNESS = 4
_LATER = 2.0
_LEANING = 0.5
# Runs of one budget are one point in compute: a window ends between budgets.
_SAME_BUDGET = 0.02


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Misses of every candidate in every window.

    Attributes:
      counts: runs fitted, by window.
      distance: by window, ln(C / largest C fitted) of the runs predicted.
      error: by window, ln L measured − predicted, float64[candidates, runs predicted].
    """

    counts: tuple[int, ...]
    distance: tuple[FloatArray, ...]
    error: tuple[FloatArray, ...]

    @property
    def weights(self) -> FloatArray:
        """Of the candidates, float64[candidates]; they sum to one."""
        later = _LATER ** np.arange(len(self.counts))
        missed = np.average([np.abs(error).mean(axis=1) for error in self.error], axis=0, weights=later)
        sharp = (missed / missed.min()) ** -_SHARPNESS
        return sharp / sharp.sum()

    def errors(self, weights: FloatArray, windows: slice = slice(None)) -> Errors:
        """The misses of a mixture in some of the windows."""
        error, distance = self.error[windows], self.distance[windows]
        mixed = [weights @ item for item in error]
        spread = [np.sqrt(weights @ (item - mean) ** 2) for item, mean in zip(error, mixed, strict=True)]
        weight = np.concatenate([np.full(len(item), 1 / len(item)) for item in mixed])
        predicted = max(len(item) for item in mixed)
        return Errors(
            np.concatenate(mixed), np.concatenate(distance), np.concatenate(spread), weight, len(weight) / predicted
        )


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """A fitted forecaster.

    Attributes:
      fits: of the candidates to all runs (one window).
      weights: of the candidates.
      rollouts: what they come from.
      scale: of its errors.
      errors: the mixture's misses.
      log_flops: ln of the largest C fitted.
    """

    fits: Fits
    weights: FloatArray
    rollouts: Rollouts
    scale: Scale
    errors: Errors
    log_flops: float

    def predict(self, log_nd_QxV: FloatArray, log_flops_Q: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
        """ln L and the half width of its interval, float64[Q] each.

        Args:
          log_nd_QxV: ln N and ln D.
          log_flops_Q: ln C.
          level: nominal coverage.
        """
        centre = self.weights @ self.fits.log_loss(log_nd_QxV)[0]
        distance = self.distance(log_flops_Q)
        # Farther than any rollout reached nothing was learned: errors are taken to grow in proportion from there.
        beyond = np.maximum(distance / self.errors.distance.max(), 1.0)
        scale = self.scale(distance, self.spread(log_nd_QxV))
        return centre, calibration.multiplier(self.errors, self.scale, level) * scale * beyond

    def distance(self, log_flops_Q: FloatArray) -> FloatArray:
        """ln(C / largest C fitted); zero within the data."""
        return np.maximum(log_flops_Q - self.log_flops, 0.0)

    def spread(self, log_nd_QxV: FloatArray) -> FloatArray:
        """Disagreement of the candidates, a standard deviation of ln L."""
        by_candidate = self.fits.log_loss(log_nd_QxV)[0]
        return np.sqrt(self.weights @ (by_candidate - self.weights @ by_candidate) ** 2)

    @property
    def flags(self) -> tuple[str, ...]:
        """Rollouts that err to one side: an interval around the mixture covers that, but its centre is off."""
        means = [float((self.weights @ error).mean()) for error in self.rollouts.error]
        typical = float(np.sqrt(np.average(self.errors.error**2, weights=self.errors.weight)))
        leaning = [mean for mean in means if abs(mean) > _LEANING * typical]
        if 2 * len(leaning) <= len(means) or min(means) < 0 < max(means):
            return ()
        way = "high" if leaning[0] > 0 else "low"
        return (
            f"in rollouts the dearer runs' losses came out too {way} for the mixture, in every window: expect the same of its forecasts",
        )

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json."""
        return {
            "candidates": [{"name": name, "weight": weight} for name, weight in self.credited],
            "scale": dataclasses.asdict(self.scale),
            "windows": [
                {"fitted": count, "predicted": len(distance), "reach": float(np.exp(distance.max()))}
                for count, distance in zip(self.rollouts.counts, self.rollouts.distance, strict=True)
            ],
        }

    @property
    def credited(self) -> list[tuple[str, float]]:
        """Candidates by weight, the heaviest first."""
        order = np.argsort(-self.weights)
        return [(CANDIDATES[index].name, float(self.weights[index])) for index in order]


def window_counts(points: Points) -> tuple[int, ...]:
    """How many of the cheapest runs each rollout is fitted to: whole budgets, enough to fit, something left to predict."""
    total, found = len(points), []
    for fraction in FRACTIONS:
        count = max(_FEWEST_TO_FIT, round(fraction * total))
        if count >= total:
            continue
        edge = points.log_flops[count - 1]
        count = int(np.searchsorted(points.log_flops, edge + _SAME_BUDGET, side="right"))
        sizes, tokens = (len(np.unique(np.round(points.log_nd[:count, column], 2))) for column in (0, 1))
        if count < total and min(sizes, tokens) >= 3:
            found.append(count)
    return tuple(dict.fromkeys(found))


def fit(points: Points) -> Ensemble | None:
    """Fits the forecaster; None where the runs are too few for rollouts.

    Args:
      points: the runs, by ascending compute.
    """
    counts = window_counts(points)
    if len(counts) < _WINDOWS or len(points) - counts[0] < _FEWEST_ERRORS:
        return None
    fits = contenders.fit(points, (*counts, len(points)))
    predicted = fits.log_loss(points.log_nd)
    rollouts = Rollouts(
        counts,
        tuple(points.log_flops[count:] - points.log_flops[count - 1] for count in counts),
        tuple(points.log_loss[count:] - predicted[window][:, count:] for window, count in enumerate(counts)),
    )
    weights = rollouts.weights
    errors = rollouts.errors(weights)
    last = Fits({name: theta[-1:] for name, theta in fits.theta.items()}, fits.centre)
    return Ensemble(last, weights, rollouts, calibration.scale_of(errors), errors, float(points.log_flops[-1]))
