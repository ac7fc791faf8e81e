"""A probabilistic context-free grammar whose documents are its sentences.

Every rule A -> t B C ... begins with a terminal t of its own (a simple grammar in Greibach normal form: Korenjak and Hopcroft 1966), so a
sentence has exactly one derivation and the entropy of sentences is that of derivations, the solution of a linear system (Grenander
1967; Chi 1999). The start symbol occurs on no right-hand side, so a visible piece that begins a sentence says so.
"""

import dataclasses
import functools

import numpy as np

from scaling.data.known_truth import spine
from scaling.data.known_truth.floor import Floor, entropies
from scaling.data.known_truth.process import ROUNDING, Process
from scaling.data.known_truth.stationary import choose
from scaling.errors import ConfigError

START = 0
# Children of the rules of a nonterminal, over and over: each can end, branch and go on.
_CHILDREN = (0, 2, 1)
# Logarithms of the factor on a rule's weight for each child: the larger, the longer the sentences.
_TILTS = (-30.0, 30.0)
_HALVINGS = 80


@dataclasses.dataclass(frozen=True)
class Grammar(Process):
    """A random grammar, its rules reweighted by the number of their children until sentences have `mean_length` terminals.

    Attributes:
      nonterminals: with the start symbol.
      rules: per nonterminal; the alphabet has nonterminals * rules terminals.
      clauses: children of every rule of the start symbol; the rules of the others have 0, 2 or 1 in turn. The fewer, the deeper sentences nest.
      concentration: of the Dirichlet distribution of rules.
      sample_sentences: of the sample that estimates what windows hide.
    """

    mean_length: float = 32.0
    nonterminals: int = 8
    rules: int = 6
    clauses: int = 8
    concentration: float = 0.7
    sample_sentences: int = 4000

    def __post_init__(self):
        """See the base class."""
        self.require(self.nonterminals >= 2, "nonterminals", "give at least 2, the start symbol included")
        self.require(self.rules >= 2, "rules", "give at least 2, so that a derivation can end and branch")
        self.require(
            1 <= self.clauses < self.mean_length - 1, "clauses", "give at least 1, and fewer than mean_length - 1"
        )
        self.require(self.concentration > 0, "concentration", "give a positive number")
        self.require(self.sample_sentences >= 20, "sample_sentences", "give at least 20, or there is no standard error")
        super().__post_init__()

    @property
    def kind(self) -> str:
        """See the base class."""
        return "grammar"

    @property
    def alphabet_size(self) -> int:
        """See the base class; terminal t belongs to rule t % rules of nonterminal t // rules."""
        return self.nonterminals * self.rules

    @functools.cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Nonterminals that follow each terminal in its rule."""
        generator = self.generator("children")
        inner = [_CHILDREN[rule % len(_CHILDREN)] for rule in range(self.rules)]
        counts = [self.clauses] * self.rules + inner * (self.nonterminals - 1)
        return tuple(tuple(generator.integers(1, self.nonterminals, count).tolist()) for count in counts)

    @functools.cached_property
    def probabilities_NxR(self) -> np.ndarray:
        """P(rule | nonterminal), float64 [N, R].

        Raises:
          ConfigError: no weighting of these rules has sentences of `mean_length`.
        """
        drawn = self.generator("rules").standard_gamma(self.concentration, (self.nonterminals, self.rules)) + 1e-6
        low, high = _TILTS
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            shorter = self._length(_tilted(drawn, self._counts_NxR, middle)) <= self.mean_length
            low, high = (middle, high) if shorter else (low, middle)
        probabilities_NxR = _tilted(drawn, self._counts_NxR, low)
        reached = self._length(probabilities_NxR)
        if abs(reached - self.mean_length) > 1e-6 * self.mean_length:
            raise ConfigError(
                f"the rules of Grammar.seed {self.seed} give sentences of {reached:.4g} terminals, not of Grammar.mean_length {self.mean_length}",
                "change mean_length or choose another seed",
            )
        return probabilities_NxR

    @functools.cached_property
    def offspring_NxN(self) -> np.ndarray:
        """Expected children of each kind of one nonterminal; the grammar is consistent because its powers vanish."""
        return self._offspring(self.probabilities_NxR)

    @functools.cached_property
    def occurrences_N(self) -> np.ndarray:
        """Expected occurrences of each nonterminal in a derivation; each emits one terminal, so they sum to the expected length."""
        return np.linalg.solve(np.eye(self.nonterminals) - self.offspring_NxN.T, np.eye(self.nonterminals)[START])

    def sentence_entropy(self) -> float:
        """Nats of a whole sentence: H_A = h(p_A) + sum over children, so the start's is that of all the choices expected to be made."""
        return float(self.occurrences_N @ entropies(self.probabilities_NxR))

    def entropy_rate(self) -> float:
        """Nats per token of sentences one after another: entropy of a sentence / (expected length + 1 for its EOS)."""
        return self.sentence_entropy() / (self.occurrences_N.sum() + 1)

    def floor(self) -> Floor:
        """See the base class.

        A sentence of L terminals has L counted targets: its first terminal is none, its EOS is one, and follows with certainty. What a window
        that begins inside a sentence hides is the stack of nonterminals that are still to come; its excess is a sample mean.
        """
        first = float(entropies(self.probabilities_NxR[START]))
        plateau = (self.sentence_entropy() - first) / self.occurrences_N.sum()
        hidden = spine.excess(self._spine, self.draw(self.generator("excess"), self.sample_sentences))
        return Floor(float(plateau), ROUNDING, *hidden)

    def draw(self, generator: np.random.Generator, count: int) -> list[np.ndarray]:
        """See the base class."""
        cumulative_NxR = np.cumsum(self.probabilities_NxR, axis=1)
        pushed_TxC = np.full((self.alphabet_size, max(len(children) for children in self.children)), -1)
        for terminal, children in enumerate(self.children):
            pushed_TxC[terminal, : len(children)] = children[::-1]
        heights = np.ones(count, np.int64)
        stacks = np.full((count, 64), START)
        running, emitted = np.arange(count), []
        while len(running):
            heights[running] -= 1
            tops = stacks[running, heights[running]]
            terminals = tops * self.rules + choose(generator, cumulative_NxR[tops])
            emitted.append((running, terminals))
            if heights.max() + pushed_TxC.shape[1] > stacks.shape[1]:
                stacks = np.concatenate([stacks, np.zeros_like(stacks)], axis=1)
            for child_N in pushed_TxC[terminals].T:
                branching = child_N >= 0
                grown = running[branching]
                stacks[grown, heights[grown]] = child_N[branching]
                heights[grown] += 1
            running = running[heights[running] > 0]
        return _by_document(emitted, count)

    def visible_nats(self, symbols: np.ndarray, ended: bool) -> np.ndarray:
        """See the base class."""
        return self._spine.nats(symbols, ended)

    @functools.cached_property
    def _spine(self) -> spine.Spine:
        return spine.Spine(self.children, self.rules, self.probabilities_NxR, self.occurrences_N)

    @functools.cached_property
    def _counts_NxR(self) -> np.ndarray:
        return np.array([len(children) for children in self.children], float).reshape(self.nonterminals, self.rules)

    def _offspring(self, probabilities_NxR: np.ndarray) -> np.ndarray:
        offspring_NxN = np.zeros((self.nonterminals, self.nonterminals))
        for terminal, children in enumerate(self.children):
            for child in children:
                offspring_NxN[terminal // self.rules, child] += probabilities_NxR.flat[terminal]
        return offspring_NxN

    def _length(self, probabilities_NxR: np.ndarray) -> float:
        """Expected terminals of a sentence; infinite where the grammar is not consistent."""
        offspring_NxN = self._offspring(probabilities_NxR)
        if np.abs(np.linalg.eigvals(offspring_NxN)).max() >= 1:
            return np.inf
        return float(np.linalg.solve(np.eye(self.nonterminals) - offspring_NxN, np.ones(self.nonterminals))[START])


def _tilted(weights_NxR: np.ndarray, counts_NxR: np.ndarray, tilt: float) -> np.ndarray:
    """Rules in proportion to weight * exp(tilt * children), float64 [N, R]."""
    tilted_NxR = weights_NxR * np.exp(tilt * counts_NxR)
    return tilted_NxR / tilted_NxR.sum(axis=1, keepdims=True)


def _by_document(emitted: list[tuple[np.ndarray, np.ndarray]], count: int) -> list[np.ndarray]:
    documents, symbols = (np.concatenate(parts) for parts in zip(*emitted, strict=True))
    order = np.argsort(documents, kind="stable")
    return np.split(symbols[order], np.cumsum(np.bincount(documents, minlength=count))[:-1])
