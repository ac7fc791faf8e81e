"""Loss along the token budgets of each model size: what approaches 1 and 2 look at.

Every reading is linear in the vector of ln L, so it is kept as a matrix, and thousands of bootstrap replicates of a
reading are one matrix product.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

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
        """The one row of :meth:`readings` at one compute, float64[K]."""
        return self.readings(np.array([log_flops]))[0]

    def readings(self, log_flops_Q: FloatArray) -> FloatArray:
        """Weights over runs that give ln L at computes, float64[Q, K].

        A polynomial through the four nearest points in ln C: through two points only, the convexity of the curve would lift the
        loss between points by more than the noise. Where points lie so unevenly that the polynomial would amplify their noise,
        fewer are used, down to a straight line.
        """
        weights_QxJ = self._weights(log_flops_Q, self._neighbours(log_flops_Q))
        for count in (_NODES - 1, _NODES):
            finer = self._weights(log_flops_Q, self._nearest(log_flops_Q, count))
            weights_QxJ = np.where(self._usable(log_flops_Q, count, finer)[:, None], finer, weights_QxJ)
        return weights_QxJ @ self.average

    def _neighbours(self, log_flops_Q: FloatArray) -> IntArray:
        """The points to the left and right of every compute, int64[Q, 2]."""
        right = np.clip(np.searchsorted(self.log_flops, log_flops_Q), 1, len(self.log_flops) - 1)
        return np.stack([right - 1, right], axis=1)

    def _nearest(self, log_flops_Q: FloatArray, count: int) -> IntArray:
        """The nearest points of every compute, ascending, int64[Q, M]."""
        distance_QxJ = np.abs(self.log_flops - log_flops_Q[:, None])
        return np.sort(np.argsort(distance_QxJ, axis=1, kind="stable")[:, :count], axis=1)

    def _weights(self, log_flops_Q: FloatArray, nodes_QxM: IntArray) -> FloatArray:
        """Weights of the points in the value at every compute of the polynomial through some of them, float64[Q, J]."""
        x_QxM = self.log_flops[nodes_QxM]
        weights_QxJ = np.zeros((len(log_flops_Q), len(self.log_flops)))
        for index in range(nodes_QxM.shape[1]):
            others = np.delete(x_QxM, index, axis=1)
            factors = (log_flops_Q[:, None] - others) / (x_QxM[:, index, None] - others)
            weights_QxJ[np.arange(len(log_flops_Q)), nodes_QxM[:, index]] = factors.prod(axis=1)
        return weights_QxJ

    def _usable(self, log_flops_Q: FloatArray, count: int, weights_QxJ: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether the nearest points surround a compute and their weights do not amplify noise, bool[Q]."""
        nodes_QxM = self._nearest(log_flops_Q, count)
        first, last = self.log_flops[nodes_QxM[:, 0]], self.log_flops[nodes_QxM[:, -1]]
        surround = (first - 1e-9 <= log_flops_Q) & (log_flops_Q <= last + 1e-9)
        return surround & (np.linalg.norm(weights_QxJ, axis=1) <= _AMPLIFICATION)


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
