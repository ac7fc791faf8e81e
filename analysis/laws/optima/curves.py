"""Loss along the token budgets of each model size: what approaches 1 and 2 look at.

Every reading is linear in the vector of ln L, so it is kept as a matrix, and thousands of bootstrap replicates of a
reading are one matrix product.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

# Runs of one size whose compute differs by less are seeds of one point.
_SAME_POINT = 0.01
_NODES = 4
# The norm of an interpolation's weights: the noise of its value over the noise of a point (1 at a point).
_AMPLIFICATION = 1.05


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

        A polynomial through the four nearest points in ln C: through two points only, the convexity of the curve would lift the
        loss between points by more than the noise. Where points lie so unevenly that the polynomial would amplify their noise,
        fewer are used, down to a straight line.
        """
        order = np.argsort(np.abs(self.log_flops - log_flops), kind="stable")
        for count in (_NODES, _NODES - 1):
            nearest = np.sort(order[:count])
            weights = _lagrange(self.log_flops[nearest], log_flops)
            if self._surround(nearest, log_flops) and np.linalg.norm(weights) <= _AMPLIFICATION:
                return weights @ self.average[nearest]
        right = int(np.clip(np.searchsorted(self.log_flops, log_flops), 1, len(self.log_flops) - 1))
        return _lagrange(self.log_flops[right - 1 : right + 1], log_flops) @ self.average[right - 1 : right + 1]

    def _surround(self, nodes: npt.NDArray[np.int64], log_flops: float) -> bool:
        return bool(self.log_flops[nodes[0]] - 1e-9 <= log_flops <= self.log_flops[nodes[-1]] + 1e-9)


def _lagrange(nodes: FloatArray, at: float) -> FloatArray:
    """Weights of the values at `nodes` in the value at `at` of the polynomial through them."""
    return np.array([np.prod([(at - other) / (node - other) for other in nodes if other != node]) for node in nodes])


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
