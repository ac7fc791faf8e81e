"""Rollout validation: fit on the cheapest runs, predict the dearer ones, for every form and for all of them weighed.

Every form appears with its discrepancy (:mod:`analysis.laws.forecasts.discrepancy`), as forecasts use it. Coverage and width say
little apart; the interval score (Gneiting and Raftery 2007, doi:10.1198/016214506000001437, eq. 43) is least for the narrowest interval
that covers: width + 2/alpha times what an observation lies outside.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.forecasts import candidates, outlook
from analysis.laws.result import finite

FloatArray = npt.NDArray[np.float64]

MIXTURE = "weighed forms"
# Edges of the bands of distance: factors of compute beyond the dearest run of the fit.
BANDS = (1.0, 2.0, 8.0, float("inf"))


@dataclasses.dataclass(frozen=True)
class Score:
    """How predictions of one kind fared.

    Attributes:
      form: the form's name, or :data:`MIXTURE`.
      beyond: (from, to), factors of compute beyond the dearest run of the fit.
      predictions: how many.
      error_percent: median absolute error of the loss.
      bias_percent: mean of measured over predicted, minus one.
      coverage: share inside the interval.
      width_percent: median of (high − low) / centre.
      interval_score: mean, in percent of the loss.
      weight: of the form.
    """

    form: str
    beyond: tuple[float, float]
    predictions: int
    error_percent: float
    bias_percent: float
    coverage: float
    width_percent: float
    interval_score: float
    weight: float

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values; an open band ends in null."""
        return {name: finite(value) if isinstance(value, float) else value for name, value in vars(self).items()} | {
            "beyond": [finite(edge) for edge in self.beyond]
        }

    @property
    def where(self) -> str:
        """The factors of compute beyond the fit, for a table."""
        low, high = self.beyond
        return f"{low:g} to {high:g}" if np.isfinite(high) else f"over {low:g}"


def interval_score(y_Q: FloatArray, low_Q: FloatArray, high_Q: FloatArray, level: float) -> FloatArray:
    """Gneiting and Raftery's score of a central interval, in the units of y, float64[Q]."""
    outside_Q = np.maximum(low_Q - y_Q, 0.0) + np.maximum(y_Q - high_Q, 0.0)
    return high_Q - low_Q + 2.0 / (1.0 - level) * outside_Q


def scores(made: outlook.Outlook) -> tuple[Score, ...]:
    """Every form and all of them weighed, by distance; bands without predictions are left out.

    The weights and the forms' intervals are those before the conformal adjustment, which was made on these very errors. Special cases of the forms follow
    them with weight zero.
    """
    if not made.rolled:
        return ()
    y_Q = np.concatenate([made.y_K[~item.early_K] for item in made.rolled])
    distance_Q = np.concatenate([item.distance_Q for item in made.rolled])
    found = []
    for name, weight, ends in _predictions(made):
        median_Q, low_Q, high_Q = (np.concatenate(column) for column in zip(*ends, strict=True))
        for low, high in zip(BANDS[:-1], BANDS[1:], strict=True):
            rows = (distance_Q >= np.log(low)) & (distance_Q < np.log(high))
            if rows.any():
                values = (values[rows] for values in (y_Q, median_Q, low_Q, high_Q))
                found.append(summary(name, (low, high), *values, made.level, weight))
    return tuple(found)


def _predictions(made: outlook.Outlook) -> Iterator[tuple[str, float, list[tuple[FloatArray, FloatArray, FloatArray]]]]:
    """Name, weight, and in each rollout median, low and high end: of every form, of its special cases, and of all forms weighed."""
    early_WxK = np.array([item.early_K for item in made.rolled])
    beside = outlook.predictives(candidates.SPECIAL_CASES, made.runs, made.y_K, early_WxK, None)
    parts = [[*item.predictives, *more] for item, more in zip(made.rolled, beside, strict=True)]
    forms = (*made.forms, *candidates.SPECIAL_CASES)
    weight_F = np.append(made.weight_F, np.zeros(len(candidates.SPECIAL_CASES)))
    kinds = [
        (form.name, float(weight), alone)
        for form, weight, alone in zip(forms, weight_F, np.eye(len(forms)), strict=True)
    ]
    for name, weight, shares_F in [*kinds, (MIXTURE, 1.0, weight_F)]:
        yield name, weight, [outlook.averaged(part, shares_F, made.level) for part in parts]


def summary(
    name: str, beyond: tuple[float, float], y_Q: FloatArray, median_Q: FloatArray, low_Q: FloatArray, high_Q: FloatArray, level: float,
    weight: float = 1.0,
) -> Score:  # fmt: skip
    """Sums up predictions of ln L."""
    error_Q = np.expm1(y_Q - median_Q)
    return Score(
        name, beyond, len(y_Q), 100 * float(np.median(np.abs(error_Q))), 100 * float(error_Q.mean()),
        float(np.mean((low_Q <= y_Q) & (y_Q <= high_Q))),
        100 * float(np.median(np.exp(high_Q - median_Q) - np.exp(low_Q - median_Q))),
        100 * float(np.mean(interval_score(y_Q, low_Q, high_Q, level))), weight,
    )  # fmt: skip
