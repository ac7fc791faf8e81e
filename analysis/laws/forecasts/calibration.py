"""How far a forecast may miss, learned from the misses of rollouts.

The error of a forecast at a distance d = ln(C/C_fitted) from its data is taken to have the scale

    s(d)² = noise² + (drift·d)² + (doubt·spread)²

with `spread` the disagreement of the candidates there. The three numbers are those of the largest Student likelihood of the
rollouts' errors; the interval is then s times the quantile of the rollouts' own |error|/s (split conformal with a
normalised score, Lei et al. 2018, arXiv:1604.04173, section 5.2), at a level raised for how few errors are independent.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import optimize

FloatArray = npt.NDArray[np.float64]

_STUDENT = 4.0
_SMALLEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Scale:
    """The scale of errors of ln L; see the module."""

    noise: float
    drift: float
    doubt: float

    def __call__(self, distance: FloatArray, spread: FloatArray) -> FloatArray:
        """s at distances in ln C and spreads in ln L."""
        return np.sqrt(self.noise**2 + (self.drift * distance) ** 2 + (self.doubt * spread) ** 2)


@dataclasses.dataclass(frozen=True)
class Errors:
    """Misses of rollouts: ln L measured − ln L predicted, with what they are scaled by; float64[M] each.

    Attributes:
      error: the misses.
      distance: ln(C / largest C fitted).
      spread: disagreement of the candidates, a standard deviation of ln L.
      weight: windows count alike, however many runs they predict.
      repeats: by how many windows each of the predicted runs was predicted, on average.
    """

    error: FloatArray
    distance: FloatArray
    spread: FloatArray
    weight: FloatArray
    repeats: float

    @property
    def independent(self) -> float:
        """How many of the misses are worth counting: windows overlap, so a run is missed again and again in one way."""
        return len(self.error) / self.repeats**2


def scale_of(errors: Errors) -> Scale:
    """The scale of the largest Student likelihood, from several starts."""
    level = np.log(np.sqrt(np.average(errors.error**2, weights=errors.weight)) + _SMALLEST)

    def cost(log_parts: FloatArray) -> float:
        scale = Scale(*np.exp(log_parts))(errors.distance, errors.spread) + _SMALLEST
        tail = (_STUDENT + 1) / 2 * np.log1p((errors.error / scale) ** 2 / _STUDENT)
        return float(errors.weight @ (np.log(scale) + tail))

    begin = [(level + noise, level + drift, 0.0) for noise in (0.0, -1.5) for drift in (-2.0, -0.5)]
    found = [optimize.minimize(cost, start, method="Nelder-Mead", options={"maxiter": 600}) for start in begin]
    parts = np.exp(min(found, key=lambda end: end.fun).x)
    return Scale(*(float(part) if part > _SMALLEST else 0.0 for part in parts))


def multiplier(errors: Errors, scale: Scale, level: float) -> float:
    """The quantile of |error|/s that `level` asks for, of errors as independent as :attr:`Errors.independent` says."""
    ratio = np.abs(errors.error) / (scale(errors.distance, errors.spread) + _SMALLEST)
    order = np.argsort(ratio)
    share = np.cumsum(errors.weight[order]) / errors.weight.sum()
    wanted = min(1.0, level * (1 + 1 / max(errors.independent, 1.0)))
    return float(ratio[order][min(int(np.searchsorted(share, wanted)), len(order) - 1)])


def interval_score(error: FloatArray, half_width: FloatArray, level: float) -> FloatArray:
    """Width, and 2/(1 − level) of what lies outside (Gneiting and Raftery 2007, eq. 43); lower is better."""
    return 2 * half_width + 2 / (1 - level) * np.maximum(np.abs(error) - half_width, 0.0)
