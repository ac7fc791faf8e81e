"""Many comparisons at once."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

HOLM = "Holm: the chance of one false rejection or more among all {count} comparisons is at most the level"


def holm(p_value_M: npt.ArrayLike) -> FloatArray:
    """Adjusted p-values, float64 [M] (Holm 1979): max over smaller p of (M - rank + 1)·p, at most 1. Holds under any dependence; NaN is no comparison."""
    p_value_M = np.asarray(p_value_M, np.float64)
    adjusted_M = np.full(p_value_M.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p_value_M))
    order = known[np.argsort(p_value_M[known], kind="stable")]
    factor = np.arange(len(order), 0, -1)
    adjusted_M[order] = np.minimum(1.0, np.maximum.accumulate(factor * p_value_M[order]))
    return adjusted_M


def statement(count: int) -> str:
    """What a report says of the adjustment."""
    return HOLM.format(count=count)
