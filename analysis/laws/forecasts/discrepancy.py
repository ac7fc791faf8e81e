"""A law that need not be right: the law's curve, a smooth discrepancy around it, and noise (Kennedy and O'Hagan 2001, eq. 5).

    ln L(x) = f(theta, x) + delta(x) + u(run) + eps,   delta ~ Gaussian process over ln N and ln D

The law is linear in theta around its fit, with a flat prior (universal kriging), so the predictive variance holds what the parameters
leave open; what the law misses is delta, whose size and length scales the residuals tell (restricted likelihood, Patterson and Thompson
1971); checkpoints of one run, and branches of one trunk, share u, and a run on a new trunk has a u of its own. The variances of u and eps
grow with the loss, by e for every `tau` of ln L above the best run, and that of delta by e for every 0.05: laws hold asymptotically, and a run
that is far worse than the best says little about the ones to come. With an infinite tau noise is alike everywhere; without it a table of such
runs would be read as one whose best runs have next to none. Hyper-parameters are averaged over a grid by that likelihood rather than chosen, because
few runs do not determine them.
"""

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt
from scipy import special, stats

FloatArray = npt.NDArray[np.float64]

# How fast a run loses its say with its loss, in ln L; infinite: never, within the reach below.
TAUS = (0.1, np.inf)
# The same for the discrepancy, by the law's own ln L: a law that misses is off most where losses are far from the best.
_SWELL = 0.05
# Runs farther than this above the best, in ln L, are left out: at a finite tau they weigh less than a fiftieth, and no law is meant for them.
_FARTHEST = 0.4
_LENGTHS = (2.0, 4.0, 8.0, 16.0)
_RATIOS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
_SHARED = (0.0, 1.0, 10.0)
_NEGLIGIBLE = 1e-2
_SINGULAR = 1e-5
_SMALLEST_NOISE = 1e-5
_ROUNDING = 1e-11
_MOST_STEPS = 60
_LEAST_SLOPE = 1e-300


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
            self._known[chance] = self._solved(chance)
        return self._known[chance]

    def _solved(self, chance: float) -> FloatArray:
        """Newton's steps on the distribution function, halving where one would leave the bracket."""
        ends_MxQ = self.mean_MxQ + stats.t.ppf(chance, self.dof_M)[:, None] * self.scale_MxQ
        low, high, at = ends_MxQ.min(axis=0) - _ROUNDING, ends_MxQ.max(axis=0) + _ROUNDING, self.weight_M @ ends_MxQ
        for _ in range(_MOST_STEPS):
            gone_MxQ = (at - self.mean_MxQ) / self.scale_MxQ
            over = self.weight_M @ special.stdtr(self.dof_M[:, None], gone_MxQ) - chance
            low, high = np.where(over < 0, at, low), np.where(over < 0, high, at)
            slope = self.weight_M @ (stats.t.pdf(gone_MxQ, self.dof_M[:, None]) / self.scale_MxQ)
            there = at - over / np.maximum(slope, _LEAST_SLOPE)
            # At the root the step ends on the bracket, and must not be thrown back to its middle.
            there = np.where((low <= there) & (there <= high), there, 0.5 * (low + high))
            at, moved = there, np.abs(there - at).max(initial=0.0)
            if moved < _ROUNDING:
                break
        return at

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
    shares = _SHARED if _has_clusters(seen.cluster_K) else (0.0,)
    knobs_3xM = np.array(list(itertools.product(_RATIOS, TAUS, shares))).T
    parts = []
    for length_V in itertools.product(_LENGTHS, repeat=2):
        near, across = (_kernel(seen.x_KxV, other.x_KxV, length_V) for other in (seen, asked))
        parts.append(_krige(seen, residual_K, asked, (excess_K, above_K, above_Q), (near, across), knobs_3xM))
    evidence_M, mean_MxQ, scale_MxQ = (np.concatenate(column) for column in zip(*parts, strict=True))
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
    kernels: tuple[FloatArray, FloatArray], knobs_3xM: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:  # fmt: skip
    """Universal kriging at M points of the grid (ratio, tau, shared): restricted log likelihood [M], mean beside the law and scale [M, Q].

    Variances are in units of the noise of the best run, which is estimated (Rasmussen and Williams 2006, eq. 2.41 to 2.45).
    """
    ratio_M, tau_M, shared_M = knobs_3xM
    near, across = kernels
    excess_K, above_K, above_Q = above
    swell_K, swell_Q = (np.exp(item / (2 * _SWELL)) for item in (above_K, above_Q))
    own_MxK, own_MxQ = (np.exp(item / tau_M[:, None]) for item in (excess_K, above_Q))
    root_MxK, root_MxQ = np.sqrt(own_MxK), np.sqrt(own_MxQ)
    same_KxK, same_KxQ = (_same(seen.cluster_K, item.cluster_K) for item in (seen, asked))
    ratio_Mx1x1, shared_Mx1x1 = ratio_M[:, None, None], shared_M[:, None, None]
    covariance_MxKxK = ratio_Mx1x1 * (swell_K[:, None] * near * swell_K)
    covariance_MxKxK += shared_Mx1x1 * (root_MxK[:, :, None] * same_KxK * root_MxK[:, None, :])
    each = np.arange(len(residual_K))
    covariance_MxKxK[:, each, each] += own_MxK
    cross_MxKxQ = ratio_Mx1x1 * (swell_K[:, None] * across.T * swell_Q)
    cross_MxKxQ += shared_Mx1x1 * (root_MxK[:, :, None] * same_KxQ * root_MxQ[:, None, :])
    factor_MxKxK = np.linalg.cholesky(covariance_MxKxK)
    known_KxR = np.column_stack([residual_K, seen.basis_KxB])
    known_MxKxR = np.broadcast_to(known_KxR, (len(ratio_M), *known_KxR.shape))
    whitened = np.linalg.solve(factor_MxKxK, np.concatenate([known_MxKxR, cross_MxKxQ], axis=2))
    size = known_KxR.shape[1]
    r_MxKx1, basis_MxKxB, cross_MxKxQ = whitened[..., :1], whitened[..., 1:size], whitened[..., size:]
    q_MxKxB, upper_MxBxB = np.linalg.qr(basis_MxKxB)
    along_MxBx1 = q_MxKxB.mT @ r_MxKx1
    left_MxKx1 = r_MxKx1 - q_MxKxB @ along_MxBx1
    dof = max(1, len(residual_K) - seen.basis_KxB.shape[1])
    variance_M = np.maximum(np.sum(left_MxKx1**2, axis=(1, 2)) / dof, _SMALLEST_NOISE**2)
    mean_MxQ = (asked.basis_KxB @ np.linalg.solve(upper_MxBxB, along_MxBx1) + cross_MxKxQ.mT @ left_MxKx1)[..., 0]
    leverage_MxBxQ = np.linalg.solve(upper_MxBxB.mT, (asked.basis_KxB - cross_MxKxQ.mT @ basis_MxKxB).mT)
    known_MxQ = ratio_M[:, None] * swell_Q**2 + shared_M[:, None] * own_MxQ - np.sum(cross_MxKxQ**2, axis=1)
    spread_MxQ = np.maximum(known_MxQ, 0.0) + own_MxQ + np.sum(leverage_MxBxQ**2, axis=1)
    evidence_M = -0.5 * dof * np.log(variance_M) - _log_diagonal(factor_MxKxK) - _log_diagonal(upper_MxBxB)
    return evidence_M, mean_MxQ, np.sqrt(variance_M[:, None] * spread_MxQ)


def _log_diagonal(matrix_MxBxB: FloatArray) -> FloatArray:
    """The sum of ln |diagonal|, float64[M]."""
    return np.sum(np.log(np.abs(np.diagonal(matrix_MxBxB, axis1=1, axis2=2))), axis=1)


def _same(cluster_K: npt.NDArray[np.int64], cluster_Q: npt.NDArray[np.int64]) -> FloatArray:
    """Whether two runs share their randomness, 0 or 1, float64[K, Q]."""
    return ((cluster_K[:, None] == cluster_Q[None]) & (cluster_K[:, None] >= 0)).astype(np.float64)
