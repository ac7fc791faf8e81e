"""Documents that are stretches of a stationary process: they stop at every step with the same probability.

The length tells nothing of the symbols, and where a window cuts a document tells nothing of its length, so the law of a visible
piece depends on how many symbols are visible and on nothing else.
"""

import abc
import dataclasses

import numpy as np

from scaling.data.known_truth.floor import binary_entropy
from scaling.data.known_truth.process import Process


@dataclasses.dataclass(frozen=True)
class StationaryProcess(Process):
    """A process whose documents end with probability 1 / mean_length after every symbol."""

    @property
    def stop_probability(self) -> float:
        """That a document ends after a symbol."""
        return 1.0 / self.mean_length

    def draw(self, generator: np.random.Generator, count: int) -> list[np.ndarray]:
        """See the base class."""
        lengths = np.sort(generator.geometric(self.stop_probability, count))[::-1]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        symbols = np.empty(starts[-1], np.int64)
        walkers = self.walkers(generator, count)
        for age in range(lengths[0]):
            running = int(np.searchsorted(-lengths, -age, side="left"))  # those with lengths > age
            symbols[starts[:running] + age] = walkers.step(generator, running)
        documents = np.split(symbols, starts[1:-1])
        return [documents[i] for i in generator.permutation(count)]

    @abc.abstractmethod
    def walkers(self, generator: np.random.Generator, count: int) -> "Walkers":
        """Independent copies of the process at its stationary start."""

    def floor_of_ages(self, entropy_by_context: np.ndarray, plateau: float) -> tuple[np.ndarray, np.ndarray]:
        """From conditional entropies to what an evaluation counts.

        A counted target of age a (a symbols of its document precede it) is the EOS with probability q = 1 / mean_length whatever
        precedes, so ages are geometric, and at place i of a window min(i, a) of these symbols are visible:
        F_i = h(q) + (1 - q) sum_a q (1 - q)^(a - 1) H_min(i, a).

        Args:
          entropy_by_context: [..., n], H_1 ... H_n: of a symbol given c predecessors.
          plateau: H_c for c > n, scalar or [...].

        Returns:
          F_infinity [...] and F_1 ... F_n [..., n].
        """
        stop = self.stop_probability
        contexts = entropy_by_context.shape[-1]
        at_least = (1 - stop) ** np.arange(contexts + 1)  # P(age >= 1), ..., P(age >= n + 1)
        exactly = stop * at_least[:-1]
        younger = np.cumsum(exactly * entropy_by_context, axis=-1)  # sum over ages a <= i
        by_position = younger + at_least[1:] * entropy_by_context
        end = binary_entropy(stop)
        return end + (1 - stop) * (younger[..., -1] + at_least[-1] * plateau), end + (1 - stop) * by_position


class Walkers(abc.ABC):
    """Many copies of a process, a step at a time."""

    @abc.abstractmethod
    def step(self, generator: np.random.Generator, running: int) -> np.ndarray:
        """The next symbol of the first `running` copies, int64 [running]; the others have stopped for good."""


def choose(generator: np.random.Generator, cumulative_NxV: np.ndarray) -> np.ndarray:
    """One draw from each row of cumulative probabilities, int64 [N]."""
    uniform_N = generator.random(len(cumulative_NxV))
    # The last column is 1 up to rounding and never compared, so every draw is a valid index.
    return np.sum(uniform_N[:, None] >= cumulative_NxV[:, :-1], axis=1)
