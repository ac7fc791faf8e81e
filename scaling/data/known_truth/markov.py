"""A Markov chain of order k with rows drawn from a Dirichlet distribution: entropy rate -sum_s pi_s sum_v P_sv ln P_sv (Shannon 1948)."""

import dataclasses
import functools

import numpy as np

from scaling.data.known_truth.floor import Floor, entropies, of_positions
from scaling.data.known_truth.process import ROUNDING
from scaling.data.known_truth.stationary import StationaryProcess, Walkers, choose
from scaling.errors import ConfigError

_MOST_CONTEXTS = 500_000
_MOST_ITERATIONS = 100_000


@dataclasses.dataclass(frozen=True)
class MarkovChain(StationaryProcess):
    """Every symbol depends on the `order` symbols before it; a document starts in the stationary distribution.

    Attributes:
      order: k.
      alphabet: V.
      concentration: of the symmetric Dirichlet distribution of each row; the smaller, the more predictable the text.
    """

    order: int = 2
    alphabet: int = 8
    concentration: float = 0.3

    def __post_init__(self):
        """See the base class."""
        self.require(self.order >= 1, "order", "give at least 1")
        self.require(self.alphabet >= 2, "alphabet", "give at least 2 symbols")
        self.require(self.concentration > 0, "concentration", "give a positive number")
        self.require(
            self.alphabet**self.order <= _MOST_CONTEXTS,
            "order",
            f"keep alphabet**order within {_MOST_CONTEXTS:,} contexts",
        )
        super().__post_init__()

    @property
    def kind(self) -> str:
        """See the base class."""
        return "markov"

    @property
    def alphabet_size(self) -> int:
        """See the base class."""
        return self.alphabet

    @functools.cached_property
    def transitions_SxV(self) -> np.ndarray:
        """P(symbol | context), float64 [V**k, V]; a context is read as digits, its oldest symbol first."""
        drawn = self.generator("transitions").standard_gamma(
            self.concentration, (self.alphabet**self.order, self.alphabet)
        )
        # Gammas of a tiny concentration can all underflow; a little on every symbol also keeps every context within reach of every other.
        drawn += 1e-12
        return drawn / drawn.sum(axis=1, keepdims=True)

    @functools.cached_property
    def stationary_S(self) -> np.ndarray:
        """pi, float64 [V**k]: the distribution of k consecutive symbols, by power iteration.

        Raises:
          ConfigError: the chain mixes too slowly for the iteration to end.
        """
        size = len(self.transitions_SxV)
        pi_S = np.full(size, 1.0 / size)
        for _ in range(_MOST_ITERATIONS):
            # Drop the oldest symbol, append the new one: [V, V**(k-1)] contexts, [V**(k-1), V] contexts after.
            next_S = (pi_S[:, None] * self.transitions_SxV).reshape(self.alphabet, -1).sum(axis=0)
            change = np.abs(next_S - pi_S).sum()
            pi_S = next_S / next_S.sum()
            if change < 1e-14:
                return pi_S
        raise ConfigError(
            f"the Markov chain of MarkovChain.seed {self.seed} mixes too slowly (change {change:.1e} a step)",
            "raise MarkovChain.concentration or choose another seed",
        )

    def entropy_rate(self) -> float:
        """Nats per symbol of the endless chain."""
        return float(self.stationary_S @ entropies(self.transitions_SxV))

    def entropy_by_context(self) -> np.ndarray:
        """H(X | its c predecessors) for c = 1 ... k, float64 [k]; from k on it is the entropy rate."""
        blocks = [entropies(self._block_distribution(c)) for c in range(1, self.order + 1)]
        return np.array([*np.diff(blocks), self.entropy_rate()])

    def floor(self) -> Floor:
        """See the base class; exact up to rounding."""
        plateau, by_position = self.floor_of_ages(self.entropy_by_context(), self.entropy_rate())
        return of_positions(by_position, float(plateau), ROUNDING)

    def walkers(self, generator: np.random.Generator, count: int) -> Walkers:
        """See the base class."""
        return _Chains(self, generator, count)

    def visible_nats(self, symbols: np.ndarray, ended: bool) -> np.ndarray:
        """See the base class."""
        probabilities = [
            self._visible_probability(symbols[max(0, j - self.order) : j + 1]) for j in range(1, len(symbols))
        ]
        going_on = -np.log(np.array(probabilities)) - np.log1p(-self.stop_probability)
        return np.append(going_on, -np.log(self.stop_probability)) if ended else going_on

    def _block_distribution(self, length: int) -> np.ndarray:
        """Of `length` <= k consecutive symbols, float64 [V**length]."""
        return self.stationary_S.reshape(-1, self.alphabet**length).sum(axis=0)

    def _visible_probability(self, block: np.ndarray) -> float:
        """Of the last symbol of a block of at most k + 1, given the others."""
        context, symbol = int(self._index(block[:-1])), int(block[-1])
        if len(block) > self.order:
            return self.transitions_SxV[context, symbol]
        joint = self._block_distribution(len(block)).reshape(-1, self.alphabet)[context]
        return joint[symbol] / joint.sum()

    def _index(self, symbols: np.ndarray) -> int:
        return functools.reduce(lambda index, symbol: index * self.alphabet + int(symbol), symbols, 0)


class _Chains(Walkers):
    """Chains whose first k symbols are those of a stationary context."""

    def __init__(self, process: MarkovChain, generator: np.random.Generator, count: int):
        self._alphabet, self._order = process.alphabet, process.order
        self._cumulative_SxV = np.cumsum(process.transitions_SxV, axis=1)
        cumulative_S = np.cumsum(process.stationary_S)
        places = np.searchsorted(cumulative_S[:-1], generator.random(count), side="right")
        self._contexts = places.astype(np.int64)
        self._age = 0

    def step(self, generator: np.random.Generator, running: int) -> np.ndarray:
        self._contexts = self._contexts[:running]
        self._age += 1
        if self._age <= self._order:
            return self._contexts // self._alphabet ** (self._order - self._age) % self._alphabet
        symbols = choose(generator, self._cumulative_SxV[self._contexts])
        self._contexts = self._contexts * self._alphabet % len(self._cumulative_SxV) + symbols
        return symbols
