"""How far a run's loss strays with its seed, as a function of the loss: what the noise bootstrap of approach 2 draws from.

Runs far from convergence scatter more. Porian et al. 2024 (arXiv:2406.19146), appendix, measured the scatter over seeds and
describe it by two points, joined by a straight line in logarithms and constant beyond them. Their published code compares ln L with
those losses, so that its noise is the lower one at every loss below e^3 nats; :meth:`SeedNoise.constant` is what it computes, and
both lead to the published exponents within 0.006 (a test says so).
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of a loss over seeds, in nats per token.

    Attributes:
      low, high: it, at losses up to `low_loss` and from `high_loss` on.
      low_loss, high_loss: nats per token; between them ln(standard deviation) is linear in ln L.
    """

    low: float
    high: float
    low_loss: float
    high_loss: float

    def __post_init__(self) -> None:
        """Refuses what is no standard deviation and losses in the wrong order."""
        if not (min(self.low, self.high) > 0 and 0 < self.low_loss < self.high_loss):
            raise ValueError(f"seed noise needs positive deviations and 0 < low_loss < high_loss, not {self}")

    @classmethod
    def constant(cls, deviation: float) -> "SeedNoise":
        """The same at every loss."""
        return cls(deviation, deviation, 1.0, 2.0)

    def at(self, loss: FloatArray) -> FloatArray:
        """The standard deviation at losses in nats per token, in their shape."""
        points, deviations = np.log([self.low_loss, self.high_loss]), np.log([self.low, self.high])
        return np.exp(np.interp(np.log(loss), points, deviations))


REFINED_WEB = SeedNoise(0.002, 0.05, 3.0, 7.0)
OPEN_WEB_TEXT_2 = SeedNoise(0.01, 0.1, 3.0, 6.0)


def draw(table: RunsTable, noise: SeedNoise, replicates: int, rng: np.random.Generator) -> bootstrap.Draws:
    """Losses of every run with fresh seeds, as deviations of ln L from what was measured.

    Args:
      table: the runs, K of them.
      noise: their standard deviation.
      replicates: R.
      rng: equal generators give equal draws.

    Raises:
      ValueError: a draw is not positive: the noise is as large as the loss.
    """
    loss_K = table.frame["loss"].to_numpy(np.float64)
    relative_RxK = noise.at(loss_K) * rng.standard_normal((replicates, len(table))) / loss_K
    if relative_RxK.size and relative_RxK.min() <= -1:
        raise ValueError("the seed noise is as large as the losses: give standard deviations in nats per token")
    return bootstrap.Draws(np.log1p(relative_RxK))
