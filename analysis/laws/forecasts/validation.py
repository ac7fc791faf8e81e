"""Rollout validation, the standard output: how each form would have predicted the runs that came later.

Every score is out of sample twice over: the form was fitted to cheaper runs than it predicts, and the width of its interval in
a window was learned from the windows before it.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.forecasts import calibration
from analysis.laws.forecasts.contenders import CANDIDATES, FORMS
from analysis.laws.forecasts.ensemble import Rollouts
from analysis.laws.result import finite

FloatArray = npt.NDArray[np.float64]

MIXTURE = "mixture"
_CALIBRATED_FROM = 2
_NEAR = float(np.log(2.0))


@dataclasses.dataclass(frozen=True)
class Score:
    """One form in rollouts.

    Attributes:
      name: of the form, or `mixture`.
      weight: what the mixture gives it, all memories together.
      predicted: rollout predictions.
      error: median |measured − predicted| over predicted.
      error_near, error_far: the same to twice the compute fitted, and beyond; None where there is none.
      bias: mean of ln L measured − ln L predicted.
      coverage: share inside the intervals, of the windows that have earlier ones to learn from; None where there are none.
      width: median (high − low) over predicted.
      interval_score: mean, of ln L; lower is better.
    """

    name: str
    weight: float
    predicted: int
    error: float
    error_near: float | None
    error_far: float | None
    bias: float
    coverage: float | None
    width: float | None
    interval_score: float | None

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        return {
            name: finite(value) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(self).items()
        }


def validate(rollouts: Rollouts, level: float) -> tuple[Score, ...]:
    """The mixture's score, then every form's, the best first."""
    weights, forms = rollouts.weights, np.array([candidate.form.name for candidate in CANDIDATES])
    scores = []
    for form in FORMS:
        own = np.where(forms == form.name, weights, 0.0)
        scores.append(_score(form.name, rollouts, own / own.sum(), float(own.sum()), level))
    return (_score(MIXTURE, rollouts, weights, 1.0, level), *sorted(scores, key=lambda score: score.error))


def _score(name: str, rollouts: Rollouts, weights: FloatArray, weight: float, level: float) -> Score:
    errors = rollouts.errors(weights)
    missed, near = np.abs(errors.error), errors.distance <= _NEAR
    inside, width, score = _calibrated(rollouts, weights, level)
    return Score(
        name, weight, len(missed), float(np.median(missed)), _median(missed[near]), _median(missed[~near]), float(errors.error.mean()),
        float(np.mean(inside)) if len(inside) else None, _median(width), float(np.mean(score)) if len(score) else None,
    )  # fmt: skip


def _calibrated(rollouts: Rollouts, weights: FloatArray, level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Inside or not, width and interval score of the predictions of every window that has earlier ones."""
    inside, width, score = [], [], []
    for window in range(_CALIBRATED_FROM, len(rollouts.counts)):
        before = rollouts.errors(weights, slice(0, window))
        now = rollouts.errors(weights, slice(window, window + 1))
        scale = calibration.scale_of(before)
        half = calibration.multiplier(before, scale, level) * scale(now.distance, now.spread)
        inside.append(np.abs(now.error) <= half)
        width.append(2 * half)
        score.append(calibration.interval_score(now.error, half, level))
    if not inside:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    return np.concatenate(inside), np.concatenate(width), np.concatenate(score)


def _median(values: FloatArray) -> float | None:
    return float(np.median(values)) if len(values) else None
