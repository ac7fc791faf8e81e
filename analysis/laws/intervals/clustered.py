"""Weighted least squares with errors that are dependent within clusters: few runs, many points of each.

The variance is the bias-reduced sandwich CR2 with Satterthwaite's degrees of freedom for each contrast (Bell and McCaffrey 2002, *Survey
Methodology* 28; Pustejovsky and Tipton 2018, arXiv:1601.01981). With three to ten runs the plain sandwich and the bootstrap over runs are too narrow.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]

# Directions in which a cluster alone determines the fit have no residual to correct.
_DETERMINED = 1e-10


@dataclasses.dataclass(frozen=True)
class ClusteredFit:
    """A linear fit whose uncertainty knows of clusters.

    Attributes:
      theta_P: the weighted least-squares solution.
      covariance_PxP: of theta, by CR2.
      spread_KxPxC: per cluster, what Satterthwaite's degrees of freedom are made of.
      residual_K: y minus fitted.
      residual_variance: weighted, per degree of freedom; the variance of a point of weight 1 if points were independent.
      clusters: how many.
    """

    theta_P: FloatArray
    covariance_PxP: FloatArray
    spread_KxPxC: FloatArray
    residual_K: FloatArray
    residual_variance: float
    clusters: int

    def error(self, contrast_P: FloatArray) -> float:
        """The standard error of contrast · theta."""
        return float(np.sqrt(max(0.0, contrast_P @ self.covariance_PxP @ contrast_P)))

    def degrees(self, contrast_P: FloatArray) -> float:
        """Satterthwaite's degrees of freedom of that standard error, at least 1 (the t distribution is no wider in practice)."""
        spread_KxC = np.einsum("kpc,p->kc", self.spread_KxPxC, contrast_P)
        gram_CxC = spread_KxC.T @ spread_KxC
        squares = float(np.sum(gram_CxC**2))
        return max(1.0, float(np.trace(gram_CxC)) ** 2 / squares) if squares > 0 else 1.0

    def quantile(self, contrast_P: FloatArray, level: float) -> float:
        """The t quantile of a two-sided interval of the contrast."""
        return float(stats.t.ppf((1 + level) / 2, self.degrees(contrast_P)))

    def interval(self, contrast_P: FloatArray, level: float) -> tuple[float, float]:
        """Of contrast · theta."""
        value = float(contrast_P @ self.theta_P)
        half = self.quantile(contrast_P, level) * self.error(contrast_P)
        return value - half, value + half

    def draws(self, count: int, rng: np.random.Generator) -> FloatArray:
        """float64 [count, P]: theta under a multivariate t of the fewest degrees of freedom of any parameter, for bands."""
        fewest = min(self.degrees(contrast_P) for contrast_P in np.eye(len(self.theta_P)))
        values_P, vectors_PxP = np.linalg.eigh(self.covariance_PxP)
        normal_RxP = rng.standard_normal((count, len(self.theta_P))) * np.sqrt(np.maximum(values_P, 0.0))
        return self.theta_P + normal_RxP @ vectors_PxP.T / np.sqrt(rng.chisquare(fewest, (count, 1)) / fewest)


def fit(x_KxP: FloatArray, y_K: FloatArray, weight_K: FloatArray, cluster_K: npt.ArrayLike) -> ClusteredFit:
    """Fits y = x · theta.

    Args:
      x_KxP: regressors, of full column rank.
      y_K: responses.
      weight_K: inverse variances up to a factor; the working model is independence with these.
      cluster_K: labels; points of different clusters are independent.
    """
    root_K = np.sqrt(weight_K)
    x_KxP, y_K = x_KxP * root_K[:, None], y_K * root_K
    bread_PxP = np.linalg.inv(x_KxP.T @ x_KxP)
    theta_P = bread_PxP @ (x_KxP.T @ y_K)
    residual_K = y_K - x_KxP @ theta_P
    code_K = np.unique(np.asarray(cluster_K), return_inverse=True)[1]
    clusters = int(code_K.max()) + 1
    meat_PxP, spread = np.zeros_like(bread_PxP), []
    for cluster in range(clusters):
        rows = np.flatnonzero(code_K == cluster)
        own_JxP = x_KxP[rows]
        adjusted_JxP = _inverse_root(np.eye(len(rows)) - own_JxP @ bread_PxP @ own_JxP.T) @ own_JxP @ bread_PxP
        score_P = adjusted_JxP.T @ residual_K[rows]
        meat_PxP += np.outer(score_P, score_P)
        # (I - H) restricted to the cluster's rows, times the adjusted influence: the quadratic form of this cluster.
        spread_KxP = -x_KxP @ (bread_PxP @ (own_JxP.T @ adjusted_JxP))
        spread_KxP[rows] += adjusted_JxP
        spread.append(spread_KxP)
    freedom = max(1, len(y_K) - x_KxP.shape[1])
    return ClusteredFit(
        theta_P,
        meat_PxP,
        np.stack(spread, axis=2),
        residual_K / root_K,
        float(residual_K @ residual_K / freedom),
        clusters,
    )


def _inverse_root(matrix_JxJ: FloatArray) -> FloatArray:
    """The symmetric inverse square root, on the space where there is one."""
    values_J, vectors_JxJ = np.linalg.eigh(matrix_JxJ)
    root_J = np.where(values_J > _DETERMINED, 1 / np.sqrt(np.maximum(values_J, _DETERMINED)), 0.0)
    return (vectors_JxJ * root_J) @ vectors_JxJ.T
