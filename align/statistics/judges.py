"""Judges that see two answers in an order: both orders are asked, and what the order does is measured and removed.

A verdict is +1 for policy A, -1 for policy B and 0 for a tie. A prompt on which the two orders disagree is a tie (the conservative rule of Zheng et
al. 2023, arXiv:2306.05685). A judge that prefers the first position by an amount that is the same on the logit scale is corrected by
the mean of the two logits.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from align.statistics.win_rates import WinRate, of_verdicts
from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SwappedVerdicts:
    """A judge's verdicts in both orders.

    Attributes:
      win_rate: A over B, where disagreement is a tie.
      consistency: share of prompts on which both orders agree.
      share_when_first, share_when_second: A's share of wins (ties half) in each order.
      first_position, second_position: prompts on which the first answer won in both orders, or the second: the judge followed the position.
    """

    win_rate: WinRate
    consistency: float
    share_when_first: float
    share_when_second: float
    first_position: int
    second_position: int

    @property
    def position_bias(self) -> float:
        """What standing first adds to a share of wins; 0 for a fair judge, 1/2 for one that looks at the position alone."""
        return (self.share_when_first - self.share_when_second) / 2

    @property
    def position_logit(self) -> float:
        """What standing first adds to the log-odds of winning; infinite where an order was unanimous."""
        return _logits(self.share_when_first, self.share_when_second, -1)

    @property
    def position_test(self) -> float:
        """Two-sided exact p-value of "no position bias", from the prompts on which the judge followed a position (McNemar 1947)."""
        followed = self.first_position + self.second_position
        return float(stats.binomtest(self.first_position, followed, 0.5).pvalue) if followed else 1.0

    @property
    def unbiased_share(self) -> float:
        """A's share of wins without the position's effect on the log-odds.

        The average of the two shares removes a bias that adds to shares; this one removes a bias that adds to log-odds, which pulls that average
        towards one half.
        """
        logit = _logits(self.share_when_first, self.share_when_second, 1)
        if np.isnan(logit):  # one order all for A, the other all for B: the position decided everything
            return 0.5
        return float(special.expit(logit))


def swapped(a_first_P: npt.ArrayLike, a_second_P: npt.ArrayLike) -> SwappedVerdicts:
    """Combines the verdicts of both orders.

    Args:
      a_first_P: verdicts where A's answer stood first: +1 for A, -1 for B, 0 tie.
      a_second_P: the same where A's answer stood second; still +1 for A.

    Raises:
      DataError: the orders have different numbers of prompts, or a verdict is none of the three.
    """
    a_first_P, a_second_P = np.asarray(a_first_P, np.float64), np.asarray(a_second_P, np.float64)
    if a_first_P.shape != a_second_P.shape or not len(a_first_P):
        raise DataError(
            f"{a_first_P.shape} and {a_second_P.shape} verdicts of the two orders",
            "ask for every prompt in both orders",
        )
    unknown = np.flatnonzero(~np.isin(a_first_P, (-1, 0, 1)) | ~np.isin(a_second_P, (-1, 0, 1)))
    if len(unknown):
        raise DataError(
            f"{len(unknown)} prompts have a verdict other than -1, 0 and 1, the first prompt {unknown[0]}", "map them"
        )
    agree_P = a_first_P == a_second_P
    return SwappedVerdicts(
        of_verdicts(np.where(agree_P, a_first_P, 0.0)),
        float(agree_P.mean()),
        float((1 + a_first_P.mean()) / 2),
        float((1 + a_second_P.mean()) / 2),
        int(((a_first_P == 1) & (a_second_P == -1)).sum()),
        int(((a_first_P == -1) & (a_second_P == 1)).sum()),
    )


def _logits(first: float, second: float, sign: int) -> float:
    """Half the sum (or difference) of the logits of two shares; infinite or NaN where a share is 0 or 1."""
    with np.errstate(invalid="ignore"):
        return float((special.logit(first) + sign * special.logit(second)) / 2)
