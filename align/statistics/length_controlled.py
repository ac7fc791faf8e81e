"""The win rate that would be had if both policies wrote equally long answers (Dubois et al. 2024, arXiv:2404.04475).

    logit P(first beats second on x) = theta + phi · tanh(Δlength(x) / std(Δlength)) [+ psi · (difficulty(x) - its mean)]

is fitted to the verdicts, and the length term is set to zero: the rate is the mean over prompts of sigmoid(theta [+ psi · ...]). tanh keeps a few
very long answers from ruling the fit.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]

# Keeps separable verdicts (all wins) finite; on others it moves theta by less than 1e-5.
_RIDGE = 1e-6
_STEPS = 100
_SEPARATED = 8.0


@dataclasses.dataclass(frozen=True)
class LengthControlled:
    """A length-controlled win rate.

    Attributes:
      value: the rate at equal lengths.
      interval: percentile interval of the bootstrap over prompts.
      raw: the rate as it is, ties half.
      length_effect: phi: the log-odds that one answer being much longer adds.
      length_test: p-value of phi = 0 by the likelihood ratio.
      separated: whether one side won so often that the log-odds run away; the value is then 0 or 1, and its interval no measure.
    """

    value: float
    interval: tuple[float, float]
    raw: float
    length_effect: float
    length_test: float
    separated: bool


def win_rate(
    verdict_P: npt.ArrayLike,
    first_length_P: npt.ArrayLike,
    second_length_P: npt.ArrayLike,
    difficulty_P: npt.ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 400,
    rng: np.random.Generator | None = None,
) -> LengthControlled:
    """Fits the verdicts and takes the length out.

    Args:
      verdict_P: the first policy's share of the win, in [0, 1] (1 won, 0.5 tied, 0 lost), or a judge's probability.
      first_length_P: lengths of its answers, in any unit.
      second_length_P: lengths of the second policy's answers.
      difficulty_P: a number a prompt that shifts all policies' odds (for example the second policy's score); None leaves it out.
      level: of the interval.
      draws: of the bootstrap over prompts.
      rng: of the draws.

    Raises:
      DataError: lengths of the arrays differ, there are fewer than 10 prompts, or a verdict is outside [0, 1].
    """
    rng = np.random.default_rng(0) if rng is None else rng
    y_P = np.asarray(verdict_P, np.float64)
    difference_P = np.asarray(first_length_P, np.float64) - np.asarray(second_length_P, np.float64)
    x_PxV = _design(y_P, difference_P, difficulty_P)
    theta_V, fitted = _fit(x_PxV, y_P)
    without_length, least = _fit(np.delete(x_PxV, 1, axis=1), y_P)
    del without_length
    replicates = []
    for _ in range(draws):
        rows = rng.integers(len(y_P), size=len(y_P))
        replicates.append(_at_equal_lengths(_fit(x_PxV[rows], y_P[rows])[0], x_PxV[rows]))
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    has_lengths = bool(np.ptp(x_PxV[:, 1]))
    return LengthControlled(
        _at_equal_lengths(theta_V, x_PxV),
        (float(low), float(high)),
        float(y_P.mean()),
        float(theta_V[1]),
        float(stats.chi2.sf(max(0.0, 2 * (fitted - least)), 1)) if has_lengths else 1.0,
        bool(abs(theta_V[0]) > _SEPARATED),
    )


def _design(y_P: FloatArray, difference_P: FloatArray, difficulty_P: npt.ArrayLike | None) -> FloatArray:
    columns = [
        np.ones(len(y_P)),
        difference_P,
        *([] if difficulty_P is None else [np.asarray(difficulty_P, np.float64)]),
    ]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"{len(y_P)} verdicts, but {len(difference_P)} lengths", "give one of each a prompt")
    if len(y_P) < 10:
        raise DataError(f"{len(y_P)} prompts are too few to fit a length effect", "compare at least 10")
    if not (np.isfinite(np.stack(columns)).all() and (y_P >= 0).all() and (y_P <= 1).all()):
        raise DataError(
            "a verdict is outside [0, 1], or a length or difficulty is not finite", "code wins 1, ties 0.5, losses 0"
        )
    spread = difference_P.std()
    columns[1] = np.tanh(difference_P / spread) if spread else np.zeros(len(y_P))
    if difficulty_P is not None:
        columns[2] = (columns[2] - columns[2].mean()) / (columns[2].std() or 1.0)
    return np.stack(columns, axis=1)


def _fit(x_PxV: FloatArray, y_P: FloatArray) -> tuple[FloatArray, float]:
    """Logistic regression by Newton's method, fractional responses allowed; parameters and log-likelihood."""
    theta_V = np.zeros(x_PxV.shape[1])
    ridge_VxV = _RIDGE * np.eye(len(theta_V))
    for _ in range(_STEPS):
        p_P = special.expit(x_PxV @ theta_V)
        gradient_V = x_PxV.T @ (y_P - p_P) - _RIDGE * theta_V
        hessian_VxV = (x_PxV * (p_P * (1 - p_P))[:, None]).T @ x_PxV + ridge_VxV
        step_V = np.linalg.solve(hessian_VxV, gradient_V)
        # Newton's step overshoots where probabilities saturate.
        step_V *= min(1.0, 2.0 / max(np.abs(step_V).max(), 1e-300))
        theta_V = theta_V + step_V
        if np.abs(step_V).max() < 1e-10:
            break
    logit_P = x_PxV @ theta_V
    return theta_V, float(np.sum(y_P * logit_P - np.logaddexp(0.0, logit_P)))


def _at_equal_lengths(theta_V: FloatArray, x_PxV: FloatArray) -> float:
    equal_PxV = x_PxV.copy()
    equal_PxV[:, 1] = 0.0
    return float(special.expit(equal_PxV @ theta_V).mean())
