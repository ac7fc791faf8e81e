"""Win rates of one policy over another on the same prompts, with exact tests."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import stats

from align.statistics import intervals
from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]

# Up to so many pairs that differ all assignments of signs are counted; beyond it some are drawn.
_EXACT_PAIRS = 16


@dataclasses.dataclass(frozen=True)
class WinRate:
    """Outcomes of paired comparisons.

    Attributes:
      wins, ties, losses: prompts on which the first policy was better, equal, worse.
    """

    wins: int
    ties: int
    losses: int

    @property
    def prompts(self) -> int:
        """All of them."""
        return self.wins + self.ties + self.losses

    @property
    def value(self) -> float:
        """(wins + ties/2) over prompts."""
        return (self.wins + 0.5 * self.ties) / self.prompts

    def interval(self, level: float = 0.95) -> intervals.Interval:
        """Wilson's interval of :attr:`value`; ties count half, which makes it conservative."""
        return intervals.wilson(self.wins + 0.5 * self.ties, self.prompts, level)

    def decided_interval(self, level: float = 0.95) -> intervals.Interval:
        """Clopper and Pearson's exact interval of wins among the prompts that were decided. Raises DataError where none was."""
        return intervals.clopper_pearson(self.wins, self.wins + self.losses, level)

    @property
    def sign_test(self) -> float:
        """Two-sided exact p-value of "wins and losses are equally likely"; ties say nothing of it (Dixon and Mood 1946). 1 where all tied."""
        decided = self.wins + self.losses
        return float(stats.binomtest(self.wins, decided, 0.5).pvalue) if decided else 1.0


def paired(first_P: FloatArray, second_P: FloatArray, margin: float = 0.0) -> WinRate:
    """Compares scores prompt by prompt; differences of at most `margin` are ties.

    Raises:
      DataError: the policies answered different numbers of prompts, or a score is NaN.
    """
    difference_P = _difference(first_P, second_P)
    return of_verdicts(np.where(np.abs(difference_P) > margin, difference_P, 0.0))


def of_verdicts(verdict_P: npt.ArrayLike) -> WinRate:
    """Counts verdicts: above zero the first policy won, below it the second, zero is a tie."""
    verdict_P = np.asarray(verdict_P, np.float64)
    if not len(verdict_P) or np.isnan(verdict_P).any():
        raise DataError(
            f"{len(verdict_P)} verdicts, {int(np.isnan(verdict_P).sum())} of them NaN",
            "compare at least one prompt, with finite scores",
        )
    return WinRate(int((verdict_P > 0).sum()), int((verdict_P == 0).sum()), int((verdict_P < 0).sum()))


def permutation_test(
    first_P: FloatArray, second_P: FloatArray, draws: int = 20_000, rng: np.random.Generator | None = None
) -> float:
    """Two-sided p-value of "the sign of every paired difference is a coin's", by the absolute mean difference (Fisher 1935).

    All 2^P assignments are counted where at most 16 pairs differ, so the p-value is exact; otherwise `draws` are made and the observed one is counted among
    them, so it is valid at any number of draws (Phipson and Smyth 2010).

    Raises:
      DataError: as :func:`paired`.
    """
    difference_P = _difference(first_P, second_P)
    difference_P = difference_P[difference_P != 0]
    if not len(difference_P):
        return 1.0
    observed = abs(difference_P.sum()) * (1 - 1e-12)
    if len(difference_P) <= _EXACT_PAIRS:
        bits_AxP = np.arange(2 ** len(difference_P))[:, None] >> np.arange(len(difference_P))[None, :] & 1
        return float(np.mean(np.abs((2.0 * bits_AxP - 1) @ difference_P) >= observed))
    rng = np.random.default_rng(0) if rng is None else rng
    reached = sum(
        int((np.abs(rng.choice((-1.0, 1.0), (size, len(difference_P))) @ difference_P) >= observed).sum())
        for size in _batches(draws)
    )
    return (1 + reached) / (1 + draws)


def _batches(draws: int, size: int = 1000) -> list[int]:
    """Draws in portions, so that memory does not grow with them."""
    return [size] * (draws // size) + [draws % size] * bool(draws % size)


def _difference(first_P: FloatArray, second_P: FloatArray) -> FloatArray:
    first_P, second_P = np.asarray(first_P, np.float64), np.asarray(second_P, np.float64)
    if first_P.shape != second_P.shape or first_P.ndim != 1:
        raise DataError(
            f"scores of {first_P.shape} and {second_P.shape} cannot be paired",
            "score both policies on the same prompts, in the same order",
        )
    difference_P = first_P - second_P
    if np.isnan(difference_P).any():
        where = np.flatnonzero(np.isnan(difference_P))
        raise DataError(
            f"{len(where)} pairs have no difference, the first at prompt {where[0]}",
            "leave these prompts out on both sides",
        )
    return difference_P
