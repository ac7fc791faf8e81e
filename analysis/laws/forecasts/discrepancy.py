"""A law that need not be right: the law's curve, a smooth discrepancy around it, and noise (Kennedy and O'Hagan 2001, eq. 5).

    ln L(x) = f(theta, x) + delta(x) + u(run) + eps,   delta ~ Gaussian process over ln N and ln D

The law is linear in theta around its fit, with a flat prior (universal kriging), so the predictive variance holds what the parameters
leave open; what the law misses is delta, whose size and length scales the residuals tell (restricted likelihood, Patterson and Thompson
1971); checkpoints of one run share u. The variances of eps and of delta grow with the loss, by e for every `tau` of ln L above the best
run: laws hold asymptotically, and a run that is far worse than the best says little about the ones to come. Hyper-parameters are averaged over a
grid by that likelihood rather than chosen, because few runs do not determine them.
"""

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt
from scipy import special, stats

FloatArray = npt.NDArray[np.float64]

# How fast a run loses its say with its loss, in ln L.
TAUS = (0.05, 0.1)
# The same for the discrepancy, by the law's own ln L: a law that misses is off most where losses are far from the best.
_SWELL = 0.05
# Runs that weigh less than a fiftieth at every tau are left out: they would cost time and say nothing.
_FARTHEST = 4.0 * TAUS[-1]
_LENGTHS = (2.0, 4.0, 8.0, 16.0)
_RATIOS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
_SHARED = (0.0, 1.0, 10.0)
_NEGLIGIBLE = 1e-2
_SINGULAR = 1e-5
_SMALLEST_NOISE = 1e-5
_HALVINGS = 36


@dataclasses.dataclass(frozen=True)
class Design:
    """Runs as the process sees them.

    Attributes:
      x_KxV: logarithms of N, D (and what else tells runs apart), natural units.
      basis_KxB: the law's derivatives in its parameters.
      cluster_K: runs of equal number share their randomness; negative numbers stand alone.
    """

    x_KxV: FloatArray
    basis_KxB: FloatArray
    cluster_K: npt.NDArray[np.int64]

    def rows(self, index: npt.NDArray) -> "Design":
        """Some of the runs."""
        return Design(self.x_KxV[index], self.basis_KxB[index], self.cluster_K[index])


@dataclasses.dataclass(frozen=True)
class Predictive:
    """A mixture of Student t distributions of ln L for Q runs.

    Attributes:
      weight_M: of the components, summing to one.
      mean_MxQ, scale_MxQ: of each.
      dof_M: of each.
    """

    weight_M: FloatArray
    mean_MxQ: FloatArray
    scale_MxQ: FloatArray
    dof_M: FloatArray
    _known: dict[float, FloatArray] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def log_density(self, y_Q: FloatArray) -> FloatArray:
        """ln p(y), float64[Q]."""
        densities = stats.t.logpdf((y_Q - self.mean_MxQ) / self.scale_MxQ, self.dof_M[:, None]) - np.log(self.scale_MxQ)
        return np.logaddexp.reduce(densities + np.log(self.weight_M)[:, None], axis=0)

    def quantile(self, chance: float) -> FloatArray:
        """The value that ln L stays below with this probability, float64[Q]; kept, because every weighing of the forms asks for it."""
        if chance not in self._known:
            self._known[chance] = self._bisected(chance)
        return self._known[chance]

    def _bisected(self, chance: float) -> FloatArray:
        reach = abs(stats.t.ppf(min(chance, 1 - chance), self.dof_M))[:, None] * self.scale_MxQ + 1e-12
        low, high = (self.mean_MxQ - reach).min(axis=0), (self.mean_MxQ + reach).max(axis=0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            chance_Q = self.weight_M @ special.stdtr(self.dof_M[:, None], (middle - self.mean_MxQ) / self.scale_MxQ)
            low, high = np.where(chance_Q < chance, middle, low), np.where(chance_Q < chance, high, middle)
        return 0.5 * (low + high)

    @property
    def mean(self) -> FloatArray:
        """Of the mixture, float64[Q]."""
        return self.weight_M @ self.mean_MxQ


def relevant(y_K: FloatArray) -> npt.NDArray[np.bool_]:
    """Which runs have a say: those whose ln L is near enough to the best, bool[K]."""
    return y_K - y_K.min() < _FARTHEST


def predict(seen: Design, residual_K: FloatArray, y_K: FloatArray, asked: Design, law_Q: FloatArray) -> Predictive:
    """The distribution of ln L of runs that are asked for.

    Args:
      seen: the runs of the fit.
      residual_K: their ln L minus the law's.
      y_K: their ln L.
      asked: the runs to predict.
      law_Q: the law's ln L there.
    """
    kept = relevant(y_K)
    seen, residual_K, law_K = seen.rows(kept), residual_K[kept], (y_K - residual_K)[kept]
    excess_K = y_K[kept] - y_K.min()
    above_K, above_Q = (np.clip(law - y_K.min(), 0.0, 2 * _FARTHEST) for law in (law_K, law_Q))
    # Directions of theta that the runs do not see would make the flat prior's normal matrix singular.
    _, lengths, directions = np.linalg.svd(seen.basis_KxB, full_matrices=False)
    turn = directions[lengths > _SINGULAR * lengths[0]].T / lengths[lengths > _SINGULAR * lengths[0]]
    seen, asked = (dataclasses.replace(item, basis_KxB=item.basis_KxB @ turn) for item in (seen, asked))
    parts = []
    for length_V in itertools.product(_LENGTHS, repeat=2):
        near, across = (_kernel(seen.x_KxV, other.x_KxV, length_V) for other in (seen, asked))
        parts += [
            _krige(seen, residual_K, asked, (excess_K, above_K, above_Q), (near, across), knobs)
            for knobs in itertools.product(_RATIOS, TAUS, _SHARED if _has_clusters(seen.cluster_K) else (0.0,))
        ]
    evidence_M, mean_MxQ, scale_MxQ = (np.array(column) for column in zip(*parts, strict=True))
    weight_M = np.exp(evidence_M - evidence_M.max())
    weight_M /= weight_M.sum()
    kept_M = weight_M > _NEGLIGIBLE * weight_M.max()
    dof = max(1, len(residual_K) - turn.shape[1])
    weight_M = weight_M[kept_M] / weight_M[kept_M].sum()
    return Predictive(weight_M, law_Q + mean_MxQ[kept_M], scale_MxQ[kept_M], np.full(len(weight_M), float(dof)))


def _has_clusters(cluster_K: npt.NDArray[np.int64]) -> bool:
    named = cluster_K[cluster_K >= 0]
    return len(np.unique(named)) < len(named)


def _kernel(x_KxV: FloatArray, other_QxV: FloatArray, length_V: tuple[float, ...]) -> FloatArray:
    """The squared exponential, float64[Q, K]; variables beyond the second take the second's length."""
    length_V = np.array([length_V[min(index, 1)] for index in range(x_KxV.shape[1])])
    apart_QxKxV = (other_QxV[:, None] - x_KxV[None]) / length_V
    return np.exp(-0.5 * np.sum(apart_QxKxV**2, axis=2))


def _krige(
    seen: Design, residual_K: FloatArray, asked: Design, above: tuple[FloatArray, FloatArray, FloatArray],
    kernels: tuple[FloatArray, FloatArray], knobs: tuple[float, float, float],
) -> tuple[float, FloatArray, FloatArray]:  # fmt: skip
    """Universal kriging at one point of the grid: restricted log likelihood, mean [Q] beside the law, scale [Q].

    Variances are in units of the noise of the best run, which is estimated (Rasmussen and Williams 2006, eq. 2.41 to 2.45).
    """
    ratio, tau, shared = knobs
    near, across = kernels
    excess_K, above_K, above_Q = above
    swell_K, swell_Q = (np.exp(item / (2 * _SWELL)) for item in (above_K, above_Q))
    covariance = ratio * swell_K[:, None] * near * swell_K + np.diag(np.exp(excess_K / tau))
    cross_QxK = ratio * swell_Q[:, None] * across * swell_K
    if shared:
        covariance = covariance + shared * _same(seen.cluster_K, seen.cluster_K)
        cross_QxK = cross_QxK + shared * _same(asked.cluster_K, seen.cluster_K)
    factor = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(factor, np.column_stack([residual_K, seen.basis_KxB, cross_QxK.T]))
    size = 1 + seen.basis_KxB.shape[1]
    r_K, basis_KxB, cross_KxQ = whitened[:, 0], whitened[:, 1:size], whitened[:, size:]
    q_KxB, upper_BxB = np.linalg.qr(basis_KxB)
    left_K = r_K - q_KxB @ (q_KxB.T @ r_K)
    dof = max(1, len(r_K) - len(upper_BxB))
    variance = max(float(left_K @ left_K) / dof, _SMALLEST_NOISE**2)
    theta_B = np.linalg.solve(upper_BxB, q_KxB.T @ r_K)
    mean_Q = asked.basis_KxB @ theta_B + cross_KxQ.T @ left_K
    leverage = np.linalg.solve(upper_BxB.T, (asked.basis_KxB - cross_KxQ.T @ basis_KxB).T)
    known_Q = ratio * swell_Q**2 + shared - np.sum(cross_KxQ**2, axis=0)
    spread_Q = np.maximum(known_Q, 0.0) + np.exp(above_Q / tau) + np.sum(leverage**2, axis=0)
    evidence = (
        -0.5 * dof * np.log(variance) - np.sum(np.log(np.diag(factor))) - np.sum(np.log(np.abs(np.diag(upper_BxB))))
    )
    return evidence, mean_Q, np.sqrt(variance * spread_Q)


def _same(cluster_Q: npt.NDArray[np.int64], cluster_K: npt.NDArray[np.int64]) -> FloatArray:
    return ((cluster_Q[:, None] == cluster_K[None]) & (cluster_K[None] >= 0)).astype(np.float64)
