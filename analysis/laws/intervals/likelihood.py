"""The likelihood that a Huber fit maximises: evidence between forms, and profile intervals of parameters."""

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.laws.fitting.objectives import HUBER_DELTA, Objective

FloatArray = npt.NDArray[np.float64]


def huber_sum(residual_RxK: FloatArray, w_RxK: FloatArray, delta: float) -> FloatArray:
    """sum_k w_k Huber_delta(r_k), with Huber = r²/2 inside delta and delta·(|r| − delta/2) outside, float64[R]."""
    clipped = np.clip(residual_RxK, -delta, delta)
    return np.sum(w_RxK * clipped * (residual_RxK - 0.5 * clipped), axis=1)


def deviance(objective: float, count: float, delta: float = HUBER_DELTA) -> float:
    """−2 ln(likelihood) of `count` residuals whose Huber losses sum to `objective`, at the scale that fits them best.

    The likelihood is the one that the fit maximises: residuals of density exp(−Huber_delta(r)/s)/Z(s). Where they are far
    below delta it is the normal one (n·ln of the mean square, up to a constant), where they are far above it Laplace's (2n·ln of
    the mean absolute residual); a sum of Huber losses in the place of a sum of squares would halve the evidence there.
    """
    mean = max(objective, 1e-300) / count
    # d ln Z / d ln s runs from 1/2 (normal) to 1 (Laplace), so the best s lies between these.
    scale_Q = np.geomspace(mean, 2 * mean, 257)
    inside = np.sqrt(2 * np.pi * scale_Q) * special.erf(delta / np.sqrt(2 * scale_Q))
    outside = 2 * scale_Q / delta * np.exp(-(delta**2) / (2 * scale_Q))
    return float(2 * count * np.min(np.log(inside + outside) + mean / scale_Q))


def deviances(objective_R: FloatArray, count: float, objective: Objective) -> FloatArray:
    """The same for any objective of residuals of free scale, float64[R]; infinite where the objective is.

    Args:
      objective_R: sums as reports print them.
      count: residuals.
      objective: what was summed.

    Raises:
      ValueError: the objective is no likelihood of residuals of free scale.
    """
    if objective.is_huber:
        sum_R = np.asarray(objective_R) / objective.scale * objective.knob
        return np.array(
            [deviance(float(value), count, objective.knob) if np.isfinite(value) else np.inf for value in sum_R]
        )
    if objective.is_squares:
        return count * np.log(np.maximum(np.asarray(objective_R), 1e-300) / count)
    raise ValueError(f"{objective.name} has no scale to profile out")
