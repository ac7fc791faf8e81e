"""The job that all fitters of fitting_speed.py are given: Besiroglu et al.'s 240 points (arXiv:2404.10102) and sum-Huber(1e-3) on log losses.

Numpy alone, so that every interpreter which takes part can read it.
"""

import csv
import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DELTA = 1e-3
# The published optimum of the objective, to eleven digits.
OPTIMUM = 0.0010182740178
# Hoffmann et al. 2022 (arXiv:2203.15556, appendix D.3): log E, log A, log B, alpha, beta; 4,500 starts.
GRID = {
    "e": tuple(np.arange(-1, 1.5, 0.5).tolist()),
    "a": tuple(np.arange(0, 30, 5.0).tolist()),
    "b": tuple(np.arange(0, 30, 5.0).tolist()),
    "alpha": tuple(np.arange(0, 2.5, 0.5).tolist()),
    "beta": tuple(np.arange(0, 2.5, 0.5).tolist()),
}
STARTS = 4500
# Their estimate of (log E, log A, log B, alpha, beta), where the published bootstrap starts.
HOFFMANN = (np.log(1.69), np.log(406.4), np.log(410.7), 0.34, 0.28)
_LARGEST_LEFT_OUT = 5


@dataclasses.dataclass(frozen=True)
class Table:
    """Parameters, tokens (C/6N) and loss in nats per token, float64[K] each."""

    params: FloatArray
    tokens: FloatArray
    loss: FloatArray


def read(path: str) -> Table:
    """Reads svg_extracted_data.csv and leaves the five largest losses out, as published.

    Args:
      path: the file, with the columns `Model Size`, `Training FLOP` and `loss`.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    params, flops, loss = (
        np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss")
    )
    kept = loss < np.sort(loss)[-_LARGEST_LEFT_OUT]
    return Table(params[kept], flops[kept] / (6 * params[kept]), loss[kept])


def starts(every: int) -> FloatArray:
    """Each `every`-th start of the grid, in the order of :data:`GRID`, float64[S, 5]."""
    return np.array(list(itertools.product(*GRID.values()))[::every])


def huber_sum(theta: FloatArray, table: Table, w_K: FloatArray) -> float:
    """The objective.

    Args:
      theta: log E, log A, log B, alpha, beta.
      table: the runs.
      w_K: multiplicities of the runs.
    """
    log_e, log_a, log_b, alpha, beta = theta
    value = np.logaddexp(np.logaddexp(log_a - alpha * np.log(table.params), log_b - beta * np.log(table.tokens)), log_e)
    residual = value - np.log(table.loss)
    clipped = np.clip(residual, -DELTA, DELTA)
    return float(w_K @ (clipped * (residual - 0.5 * clipped)))


def replicate_weights(count: int, replicates: int) -> FloatArray:
    """Multiplicities drawn as in the published bootstrap (seed 42), float64[R, K]."""
    state = np.random.RandomState(42)
    return np.stack(
        [np.bincount(state.choice(count, count, replace=True), minlength=count) for _ in range(replicates)]
    ).astype(np.float64)
