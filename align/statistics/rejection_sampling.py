"""Which samples rejection-sampling fine-tuning keeps.

RAFT: Dong et al. 2023, arXiv:2304.06767; Llama 2: Touvron et al. 2023, arXiv:2307.09288.
"""

import numpy as np
import numpy.typing as npt

from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def top(
    score_PxN: FloatArray, keep: int, threshold: float = -np.inf, identity_PxN: npt.NDArray | None = None
) -> BoolArray:
    """The best `keep` samples of every prompt, bool [P, N]; among equal scores the one that was sampled first.

    Args:
      score_PxN: rewards of N samples for each of P prompts.
      keep: at most so many a prompt.
      threshold: only samples that score at least this; a prompt may be left with none.
      identity_PxN: equal entries in a row are equal completions, of which the first alone may be kept. Without it a policy of low entropy is
        fine-tuned on copies.

    Raises:
      DataError: keep is not between 1 and N, or a score is NaN.
    """
    score_PxN = np.asarray(score_PxN, np.float64)
    samples = score_PxN.shape[1]
    if not 1 <= keep <= samples:
        raise DataError(f"{keep} of {samples} samples of a prompt cannot be kept", "choose between 1 and all of them")
    if np.isnan(score_PxN).any():
        raise DataError(
            f"{int(np.isnan(score_PxN).sum())} scores are NaN", "mend the reward, or leave these prompts out"
        )
    allowed_PxN = score_PxN >= threshold
    if identity_PxN is not None:
        allowed_PxN &= _first_of_equals(identity_PxN)
    ranked_PxN = np.argsort(-np.where(allowed_PxN, score_PxN, -np.inf), axis=1, kind="stable")
    kept_PxN = np.zeros(score_PxN.shape, np.bool_)
    np.put_along_axis(kept_PxN, ranked_PxN[:, :keep], True, axis=1)
    return kept_PxN & allowed_PxN


def quantile_threshold(score_PxN: FloatArray, share: float) -> float:
    """The score that the best `share` of all samples reach, over all prompts: easy prompts then keep more than hard ones."""
    if not 0 < share <= 1:
        raise DataError(f"a share of {share} of the samples cannot be kept", "choose a share above 0, at most 1")
    return float(np.quantile(np.asarray(score_PxN, np.float64), 1 - share, method="lower"))


def _first_of_equals(identity_PxN: npt.NDArray) -> BoolArray:
    first_PxN = np.zeros(np.shape(identity_PxN), np.bool_)
    for row, identity_N in enumerate(identity_PxN):
        first_PxN[row, np.unique(identity_N, return_index=True)[1]] = True
    return first_PxN
