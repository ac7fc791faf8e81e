"""How far the order of completions agrees with their gold scores: the noise of the labels, measured on the labels themselves."""

import itertools
import math
from collections.abc import Sequence
from typing import Any


class Agreement:
    """Counts over all pairs of completions of one example whose gold scores are known and differ."""

    def __init__(self):
        self.agreeing = self.pairs = self.ties = self.unknown = 0

    def add(self, scores: Sequence[float]) -> None:
        """Counts the C(K, 2) pairs of one example.

        Args:
          scores: gold scores in the order of preference.
        """
        for preferred, other in itertools.combinations(scores, 2):
            if math.isnan(preferred) or math.isnan(other):
                self.unknown += 1
            elif preferred == other:
                self.ties += 1
            else:
                self.pairs += 1
                self.agreeing += preferred > other

    def to_json(self) -> dict[str, Any]:
        """`agreement` is the fraction of pairs in the order of their gold scores; `noise` the rest; null where there are none."""
        fraction = self.agreeing / self.pairs if self.pairs else None
        return {
            "pairs": self.pairs,
            "ties": self.ties,
            "unknown": self.unknown,
            "agreement": fraction,
            "noise": None if fraction is None else 1 - fraction,
        }
