"""Weights of forms from how well each predicted runs that it had not seen (Yao et al. 2018, doi:10.1214/17-BA1091, eq. 4)."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Ten rollouts' worth of belief that the forms are equally good: with few rollouts the weights stay near that. Rollouts of one table predict much
# the same runs, so four of them say less than four observations would.
PRIOR = 10.0
_STEPS = 500


def weights(log_score_FxM: FloatArray, window_M: npt.NDArray[np.int64], prior: float = PRIOR) -> FloatArray:
    """The simplex weights that maximise the log score of the mixture, float64[F].

    Predictions of one rollout share the errors of one fit, so a rollout counts as one observation however many runs it predicts.
    The Dirichlet prior is spread evenly over the forms. The maximum is found by expectation and maximisation, which is monotone.

    Args:
      log_score_FxM: ln p(y) of every form at every prediction; an impossible one may be −inf, but not for all forms.
      window_M: the rollout of each prediction.
      prior: pseudo-rollouts that say that all forms are equal.
    """
    forms = len(log_score_FxM)
    weight_F = np.full(forms, 1.0 / forms)
    if not log_score_FxM.shape[1]:
        return weight_F
    _, group_M, size_G = np.unique(window_M, return_inverse=True, return_counts=True)
    share_M = 1.0 / size_G[group_M]
    density_FxM = np.exp(log_score_FxM - log_score_FxM.max(axis=0))
    for _ in range(_STEPS):
        part_FxM = weight_F[:, None] * density_FxM
        weight_F = (part_FxM / part_FxM.sum(axis=0)) @ share_M + prior / forms
        weight_F /= weight_F.sum()
    return weight_F
