"""A hidden Markov model: its entropy rate has no closed form, so it is the mean of the forward filter's predictive entropies on a long
sample, with a standard error (Birch 1962 gives bounds for short blocks, which the tests hold it against)."""

import dataclasses
import functools

import numpy as np

from scaling.data.known_truth.floor import Entropy, Floor, entropies
from scaling.data.known_truth.process import ROUNDING
from scaling.data.known_truth.stationary import StationaryProcess, Walkers, choose
from scaling.errors import ConfigError

# Predecessors up to which entropies are kept apart, and the steps after them that estimate the rate.
_CONTEXTS = 128
_RATE_STEPS = 384
_ALLOWED_ERRORS = 5.0


@dataclasses.dataclass(frozen=True)
class HiddenMarkov(StationaryProcess):
    """A hidden state moves as a Markov chain of order 1 and emits one symbol a step; a document starts in the stationary state.

    Attributes:
      states: S, hidden.
      alphabet: V.
      transition_concentration: of the Dirichlet distribution of the rows that move the state; the smaller, the longer the memory.
      emission_concentration: of the rows that emit; the smaller, the better a symbol tells the state.
      sample_blocks: independent stretches of the sample that estimates the entropy rate, 512 symbols each.
    """

    states: int = 12
    alphabet: int = 8
    transition_concentration: float = 0.1
    emission_concentration: float = 0.1
    sample_blocks: int = 16_384

    def __post_init__(self):
        """See the base class."""
        self.require(self.states >= 1, "states", "give at least 1")
        self.require(self.alphabet >= 2, "alphabet", "give at least 2 symbols")
        self.require(self.transition_concentration > 0, "transition_concentration", "give a positive number")
        self.require(self.emission_concentration > 0, "emission_concentration", "give a positive number")
        self.require(self.sample_blocks >= 20, "sample_blocks", "give at least 20, or there is no standard error")
        super().__post_init__()

    @property
    def kind(self) -> str:
        """See the base class."""
        return "hidden_markov"

    @property
    def alphabet_size(self) -> int:
        """See the base class."""
        return self.alphabet

    @functools.cached_property
    def transitions_SxS(self) -> np.ndarray:
        """P(next state | state), float64 [S, S]."""
        return self._rows("transitions", self.transition_concentration, self.states)

    @functools.cached_property
    def emissions_SxV(self) -> np.ndarray:
        """P(symbol | state), float64 [S, V]."""
        return self._rows("emissions", self.emission_concentration, self.alphabet)

    @functools.cached_property
    def stationary_S(self) -> np.ndarray:
        """Distribution of the state, float64 [S]: the solution of pi P = pi, sum pi = 1."""
        equations = np.vstack([self.transitions_SxS.T - np.eye(self.states), np.ones(self.states)])
        pi_S = np.linalg.lstsq(equations, np.append(np.zeros(self.states), 1.0), rcond=None)[0].clip(min=0.0)
        return pi_S / pi_S.sum()

    def entropy_rate(self) -> Entropy:
        """Nats per symbol of the endless process, with its standard error."""
        return _mean(self._filtered[1])

    def floor(self) -> Floor:
        """See the base class; its standard errors are those over the blocks of the sample."""
        by_context_BxC, rate_B = self._filtered
        plateau_B, by_position_BxC = self.floor_of_ages(by_context_BxC, rate_B)
        excess_BxC = np.cumsum(by_position_BxC - plateau_B[:, None], axis=1)
        plateau, excess = _mean(plateau_B), _mean(excess_BxC)
        return Floor(
            float(plateau.nats), float(plateau.error), tuple(excess.nats.tolist()), tuple(excess.error.tolist())
        )

    def walkers(self, generator: np.random.Generator, count: int) -> Walkers:
        """See the base class."""
        return _Machines(self, generator, count)

    def visible_nats(self, symbols: np.ndarray, ended: bool) -> np.ndarray:
        """See the base class."""
        state_S, nats = self.stationary_S, []
        for symbol in symbols:
            joint_S = state_S * self.emissions_SxV[:, symbol]
            nats.append(-np.log(joint_S.sum()) - np.log1p(-self.stop_probability))
            state_S = joint_S @ self.transitions_SxS / joint_S.sum()
        return np.array([*nats[1:], *([-np.log(self.stop_probability)] if ended else [])])

    @functools.cached_property
    def _filtered(self) -> tuple[np.ndarray, np.ndarray]:
        """Predictive entropies on `sample_blocks` stretches: after c = 1 ... C symbols [B, C], and the mean of those after more [B].

        The symbols are drawn from the filter's own predictions, which have the law of the process; the entropy of a prediction has a smaller
        variance than the surprise of the symbol.
        """
        generator = self.generator("entropy")
        state_BxS = np.tile(self.stationary_S, (self.sample_blocks, 1))
        entropy_BxC, rest_B = np.empty((self.sample_blocks, _CONTEXTS)), np.zeros(self.sample_blocks)
        for seen in range(_CONTEXTS + 1 + _RATE_STEPS):
            predicted_BxV = state_BxS @ self.emissions_SxV
            if 1 <= seen <= _CONTEXTS:
                entropy_BxC[:, seen - 1] = entropies(predicted_BxV)
            elif seen:
                rest_B += entropies(predicted_BxV) / _RATE_STEPS
            symbols_B = choose(generator, np.cumsum(predicted_BxV, axis=1))
            joint_BxS = state_BxS * self.emissions_SxV[:, symbols_B].T
            state_BxS = (joint_BxS / joint_BxS.sum(axis=1, keepdims=True)) @ self.transitions_SxS
        self._require_short_memory(entropy_BxC, rest_B)
        return entropy_BxC, rest_B

    def _require_short_memory(self, entropy_BxC: np.ndarray, rest_B: np.ndarray) -> None:
        """Refuses a model that still forgets its start where the mean that estimates the rate begins."""
        left = _mean(entropy_BxC[:, -_CONTEXTS // 4 :].mean(axis=1) - rest_B)
        if abs(left.nats) > _ALLOWED_ERRORS * left.error + ROUNDING:
            raise ConfigError(
                f"HiddenMarkov.seed {self.seed} gives a model that remembers more than {_CONTEXTS} symbols (entropy still falls by {left.nats:.1e} nats)",
                "raise HiddenMarkov.transition_concentration or choose another seed",
            )

    def _rows(self, what: str, concentration: float, width: int) -> np.ndarray:
        # As for MarkovChain: no row of zeros, and no state out of reach.
        drawn = self.generator(what).standard_gamma(concentration, (self.states, width)) + 1e-12
        return drawn / drawn.sum(axis=1, keepdims=True)


def birch_bounds(process: HiddenMarkov, length: int) -> tuple[float, float]:
    """H(Y_n | Y_1 ... Y_n-1, S_1) <= h <= H(Y_n | Y_1 ... Y_n-1) for n = `length` (Birch 1962), by enumerating all V**n blocks.

    Args:
      process: the model.
      length: n, at least 2.
    """
    joint_xSxS = np.diag(process.stationary_S)[None]  # [blocks, first state, present state]
    upper, lower = [], []
    for _ in range(length):
        emitted = np.einsum("bfs,sv->bvfs", joint_xSxS, process.emissions_SxV).reshape(-1, *joint_xSxS.shape[1:])
        upper.append(entropies(emitted.sum(axis=(1, 2))))
        lower.append(entropies(emitted.sum(axis=2).ravel()))
        joint_xSxS = emitted @ process.transitions_SxS
    return float(lower[-1] - lower[-2]), float(upper[-1] - upper[-2])


def _mean(values_B: np.ndarray) -> Entropy:
    return Entropy(values_B.mean(axis=0), values_B.std(axis=0, ddof=1) / np.sqrt(len(values_B)))


class _Machines(Walkers):
    """Models, each in a state of its own."""

    def __init__(self, process: HiddenMarkov, generator: np.random.Generator, count: int):
        self._transitions_SxS = np.cumsum(process.transitions_SxS, axis=1)
        self._emissions_SxV = np.cumsum(process.emissions_SxV, axis=1)
        self._states = choose(generator, np.tile(np.cumsum(process.stationary_S), (count, 1)))

    def step(self, generator: np.random.Generator, running: int) -> np.ndarray:
        states = self._states[:running]
        symbols = choose(generator, self._emissions_SxV[states])
        self._states = choose(generator, self._transitions_SxS[states])
        return symbols
