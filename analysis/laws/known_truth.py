"""A law's irreducible loss against the entropy of a text whose entropy is known.

The entropy is the least loss that any model can be expected to have on the held-out text, so it is what E of L = E + ... estimates. Its error has
two parts: that of the entropy itself, and that of the loss on a finite text, which all runs of a table read and which therefore moves E and
not the residuals. Whoever has both gives the root of the sum of their squares.
"""

import dataclasses
import math
from typing import Any

from analysis.laws.result import Estimate, Result, finite

# An interval this wide, as a share of the entropy, contains it whatever the law is worth.
_WIDE = 0.1


@dataclasses.dataclass(frozen=True)
class TruthCheck:
    """Whether the interval of a fitted E contains the truth.

    Attributes:
      law: its key in laws.json.
      estimate: E with its interval, nats per token.
      entropy: the truth, nats per token.
      error: of `entropy`, one standard error.
    """

    law: str
    estimate: Estimate
    entropy: float
    error: float

    @property
    def inside(self) -> bool | None:
        """Whether the interval, widened by `error` to both sides, contains the entropy; None without an interval."""
        if self.estimate.interval is None:
            return None
        low, high = self.estimate.interval
        return low - self.error <= self.entropy <= high + self.error

    @property
    def half_width(self) -> float | None:
        """Of the interval, nats per token; None without one that is finite."""
        if self.estimate.interval is None:
            return None
        low, high = self.estimate.interval
        return finite((high - low) / 2)

    @property
    def distance(self) -> float | None:
        """(entropy - E) in units of the interval's reach from E to that side, so that 1 is its end: positive where E came out too low.

        None where the interval does not reach to that side at all, or without end.
        """
        if self.estimate.interval is None:
            return None
        low, high = self.estimate.interval
        off = self.entropy - self.estimate.value
        reach = high - self.estimate.value if off > 0 else self.estimate.value - low
        return finite(off / reach) if math.isfinite(reach) and reach > 0 else None

    @property
    def informative(self) -> bool:
        """Whether the interval is narrow enough that missing the truth was possible: its half-width is below a tenth of the entropy."""
        return self.half_width is not None and self.half_width < _WIDE * self.entropy

    def in_words(self) -> str:
        """One sentence."""
        truth = f"the true entropy is {self.entropy:.4f} ± {self.error:.1g} nats per token"
        if self.estimate.interval is None:
            return f"{self.law}: E {self.estimate.value:.4f} has no interval ({self.estimate.method}); {truth}"
        low, high = self.estimate.interval
        found = f"{self.law}: E {self.estimate.value:.4f}, {100 * self.estimate.level:.0f}% interval {low:.4f} to {high:.4f}; {truth}"
        side = "above" if self.entropy > self.estimate.value else "below"
        place = "" if self.distance is None else f", {abs(self.distance):.2f} half-widths {side} E"
        verdict = f"{'inside' if self.inside else 'OUTSIDE'}{place}"
        return f"{found}: {verdict}" + ("" if self.informative else ", but so wide an interval says little")

    def to_json(self) -> dict[str, Any]:
        """JSON values, never NaN."""
        return {
            "law": self.law,
            "E": self.estimate.to_json(),
            "entropy_nats_per_token": finite(self.entropy),
            "entropy_error": finite(self.error),
            "inside": self.inside,
            "half_widths": self.distance,
            "informative": self.informative,
            "words": self.in_words(),
        }


def check(law: Result, entropy: float, error: float) -> TruthCheck:
    """Holds a law's irreducible loss against the true entropy.

    Args:
      law: fitted, with E among its parameters.
      entropy: nats per token, as the evaluation counts tokens.
      error: of `entropy` and of the loss on the held-out text together, one standard error; 0 where both are exact.

    Raises:
      ValueError: the law has no E, or the entropy or its error is not a finite number from 0.
    """
    if "E" not in law.parameters:
        raise ValueError(
            f"the law {law.name} has no irreducible loss E; its parameters are {', '.join(law.parameters)}"
        )
    if not (math.isfinite(entropy) and math.isfinite(error) and entropy >= 0 and error >= 0):
        raise ValueError(
            f"an entropy of {entropy} with an error of {error} is none: both must be finite and not negative"
        )
    return TruthCheck(law.name, law.parameters["E"], float(entropy), float(error))
