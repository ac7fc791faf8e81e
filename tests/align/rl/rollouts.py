"""Random completions of several lengths behind prompts, with junk outside them, for the tests of estimators."""

import numpy as np

LENGTH = 9


def mask(rng: np.random.Generator, rows: int = 7) -> np.ndarray:
    """bool [rows, LENGTH]: one run of tokens a row, at least one of them, beginning after a prompt."""
    starts = rng.integers(1, LENGTH - 1, rows)
    ends = starts + 1 + rng.integers(0, LENGTH - starts)
    index = np.arange(LENGTH)[None, :]
    return (index >= starts[:, None]) & (index < np.minimum(ends, LENGTH)[:, None])


def values(rng: np.random.Generator, real: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Normal numbers at real tokens and NaN elsewhere: whoever reads that shows it."""
    return np.where(real, scale * rng.normal(size=real.shape), np.nan)
