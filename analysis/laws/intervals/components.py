"""How the noise of a run splits between its trunk and itself, and how well the residuals tell.

With residuals r about a law of P parameters whose Jacobian is J, the part of r outside the span of J is free of the parameters, to first
order and whatever estimator they came from. Its likelihood is the restricted one of the mixed model r = trunk + own (Patterson and
Thompson 1971, *Recovery of inter-block information when block sizes are unequal*, Biometrika 58). Variances are drawn from it with the
prior whose logarithms of both mean squares are uniform (Box and Tiao 1973, *Bayesian Inference in Statistical Analysis*, section 5.2.2):
in a balanced ladder each is then its sum of squares over a chi-square of its degrees of freedom, which is what Student's t does for a
mean, and widens intervals by how few trunks there are. A prior that is flat in the share of the trunks would count two trunks too many.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# The largest ratio of the variance between trunks to that within, and steps of the logarithm of the mean squares' ratio up to it.
_LARGEST_RATIO, _STEPS = 1e3, 80
_RANK, _LEAST = 1e-9, 1e-30


@dataclasses.dataclass(frozen=True)
class Components:
    """What the residuals say of the two variances.

    Attributes:
      ratio_S: ratios of the variance between trunks to that within.
      weight_S: the probability of each; they sum to one.
      square_S: the sum of squares given each ratio: the variance within trunks is this over a chi-square of `dof`.
      dof: residuals less parameters.
    """

    ratio_S: FloatArray
    weight_S: FloatArray
    square_S: FloatArray
    dof: int

    def draw(self, replicates: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Standard deviations (between trunks, within them) of every replicate, float64[R] each."""
        which_R = rng.choice(len(self.ratio_S), replicates, p=self.weight_S)
        within_R = np.sqrt(self.square_S[which_R] / rng.chisquare(self.dof, replicates))
        return np.sqrt(self.ratio_S[which_R]) * within_R, within_R


def components(residual_K: FloatArray, cluster_K: npt.NDArray[np.int64], jacobian_PxK: FloatArray) -> Components:
    """The restricted likelihood of the residuals over the ratio of the two variances.

    Args:
      residual_K: observed minus modelled ln L.
      cluster_K: the trunk of every run, 0 to G − 1.
      jacobian_PxK: derivatives of the modelled ln L.

    Raises:
      ValueError: there are no more runs than parameters.
    """
    count = len(residual_K)
    span_KxP = np.linalg.qr(jacobian_PxK.T)[0]
    dof = count - span_KxP.shape[1]
    if dof < 1:
        raise ValueError(f"{count} runs leave no residual beside {span_KxP.shape[1]} parameters")
    free_K = residual_K - span_KxP @ (span_KxP.T @ residual_K)
    # A table without noise has no share to tell, and no logarithm of a sum of squares.
    total = max(float(free_K @ free_K), _LEAST)
    clusters = int(cluster_K.max()) + 1
    if clusters == count:
        return Components(np.zeros(1), np.ones(1), np.array([total]), dof)
    trunk_KxG = (cluster_K[:, None] == np.arange(clusters)).astype(np.float64)
    outside_KxG = trunk_KxG - span_KxP @ (span_KxP.T @ trunk_KxG)
    value_G, vector_GxG = np.linalg.eigh(outside_KxG.T @ outside_KxG)
    kept = value_G > _RANK * value_G[-1]
    value_Q = value_G[kept]
    square_Q = (vector_GxG[:, kept].T @ (trunk_KxG.T @ free_K)) ** 2 / value_Q
    typical = (count - np.sum(trunk_KxG.sum(axis=0) ** 2) / count) / (clusters - 1)
    ratio_S = np.expm1(np.linspace(0.0, np.log1p(typical * _LARGEST_RATIO), _STEPS)) / typical
    # Variances in units of that within trunks: one everywhere, and more in the directions of the trunks.
    variance_SxQ = 1 + ratio_S[:, None] * value_Q
    square_S = (square_Q / variance_SxQ).sum(axis=1) + max(_LEAST, total - float(square_Q.sum()))
    log_S = -0.5 * (np.log(variance_SxQ).sum(axis=1) + dof * np.log(square_S))
    weight_S = np.exp(log_S - log_S.max())
    return Components(ratio_S, weight_S / weight_S.sum(), square_S, dof)
