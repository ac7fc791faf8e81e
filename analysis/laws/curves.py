"""Loss along the token budgets of each model size: what approaches 1 and 2 look at.

Every reading is linear in the vector of ln L, so it is kept as a matrix, and thousands of bootstrap replicates of a
reading are one matrix product.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

# Runs of one size whose compute differs by less are seeds of one point.
_SAME_POINT = 0.01
_NODES = 4


@dataclasses.dataclass(frozen=True)
class SizeCurve:
    """One model size: its points in order of compute.

    Attributes:
      log_params: mean ln N of its runs.
      log_flops: ln C of its points, float64[J].
      log_tokens: ln D of its points, float64[J].
      average: ln L of the points as means over seeds, float64[J, K] times ln L [K].
    """

    log_params: float
    log_flops: FloatArray
    log_tokens: FloatArray
    average: FloatArray

    def covers(self, log_flops: float) -> bool:
        """Whether a compute lies between the first and last point."""
        return bool(len(self.log_flops) > 1 and self.log_flops[0] - 1e-9 <= log_flops <= self.log_flops[-1] + 1e-9)

    def tokens_at(self, log_flops_Q: FloatArray) -> FloatArray:
        """ln D at a compute: along one size C is proportional to D."""
        return np.interp(log_flops_Q, self.log_flops, self.log_tokens)

    def reading(self, log_flops: float) -> FloatArray:
        """Weights over runs that give ln L at a compute, float64[K].

        A polynomial through the four nearest points (fewer where there are fewer) in ln C. Through two points only, the
        convexity of the curve would lift the loss between points by more than the noise.
        """
        nearest = np.sort(np.argsort(np.abs(self.log_flops - log_flops), kind="stable")[:_NODES])
        nodes = self.log_flops[nearest]
        weights = np.array([
            np.prod([(log_flops - other) / (node - other) for other in nodes if other != node]) for node in nodes
        ])  # fmt: skip
        return weights @ self.average[nearest]


def size_curves(table: RunsTable) -> list[SizeCurve]:
    """The curves of a table, by ascending size; sizes within 2% are one."""
    size_K = table.codes("params")
    log_params, log_tokens, log_flops = table.log("params"), table.log("tokens"), table.log("flops")
    curves = []
    for size in np.unique(size_K):
        rows = np.flatnonzero(size_K == size)
        point = grouped(log_flops[rows], _SAME_POINT)
        average = np.zeros((point.max() + 1, len(table)))
        average[point, rows] = 1.0
        average /= average.sum(axis=1, keepdims=True)
        curves.append(SizeCurve(float(log_params[rows].mean()), average @ log_flops, average @ log_tokens, average))
    return curves
