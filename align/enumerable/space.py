"""All completions over a small vocabulary, with the state (the tokens so far) in which each of their tokens is chosen."""

import dataclasses
import functools

import numpy as np

from align.sequences import Sequences
from scaling.errors import ConfigError

# Pairs of completions are enumerated too, so a space is kept small enough for its square.
MOST_COMPLETIONS = 10_000


@dataclasses.dataclass(frozen=True)
class Space:
    """V^T completions; fewer where an EOS may end them early. S is their number and N that of states.

    Attributes:
      vocabulary: V, tokens 0 to V - 1.
      length: T, the most tokens of a completion, EOS included.
      eos: the token that ends a completion; None: all are T tokens long.
    """

    vocabulary: int
    length: int
    eos: int | None = None

    def __post_init__(self):
        if self.vocabulary < 2 or self.length < 1:
            raise ConfigError(
                f"Space has a vocabulary of {self.vocabulary} and length {self.length}", "give at least 2 and 1"
            )
        if self.eos is not None and not 0 <= self.eos < self.vocabulary:
            raise ConfigError(f"Space.eos is {self.eos}", f"give a token from 0 to {self.vocabulary - 1}, or None")
        if self.vocabulary**self.length > MOST_COMPLETIONS:
            raise ConfigError(
                f"Space would enumerate {self.vocabulary}^{self.length} completions",
                f"choose vocabulary and length for at most {MOST_COMPLETIONS}",
            )

    @functools.cached_property
    def completions(self) -> list[tuple[int, ...]]:
        """Every completion, EOS included, in lexicographic order."""
        return [prefix for prefix in self._prefixes if self._is_complete(prefix)]

    @functools.cached_property
    def states(self) -> dict[tuple[int, ...], int]:
        """The number of every state in which a token is chosen, by the tokens before it."""
        open_ended = (prefix for prefix in self._prefixes if not self._is_complete(prefix))
        return {prefix: index for index, prefix in enumerate(sorted(open_ended, key=lambda p: (len(p), p)))}

    @functools.cached_property
    def tokens_SxT(self) -> np.ndarray:
        """int32: the completions, padded with 0."""
        return self._table(lambda completion, t: completion[t])

    @functools.cached_property
    def states_SxT(self) -> np.ndarray:
        """int32: the state in which each token was chosen, 0 at padding."""
        return self._table(lambda completion, t: self.states[completion[:t]])

    @functools.cached_property
    def lengths_S(self) -> np.ndarray:
        """int32: tokens of each completion."""
        return np.array([len(completion) for completion in self.completions], np.int32)

    @property
    def mask_SxT(self) -> np.ndarray:
        """bool: the completions' tokens."""
        return np.arange(self.length)[None, :] < self.lengths_S[:, None]

    @property
    def ended_S(self) -> np.ndarray:
        """bool: whether a completion ends in EOS."""
        return np.array([completion[-1] == self.eos for completion in self.completions])

    def sequences(self, prompt: tuple[int, ...] = (0,)) -> Sequences:
        """The completions after a prompt, as models read them: [S, prompt + T]."""
        prompts = np.tile(np.array(prompt, np.int32), (len(self.completions), 1))
        prompt_lengths = np.full(len(self.completions), len(prompt), np.int32)
        tokens = np.concatenate([prompts, self.tokens_SxT], axis=1)
        return Sequences(tokens, prompt_lengths, prompt_lengths + self.lengths_S)

    @functools.cached_property
    def _prefixes(self) -> list[tuple[int, ...]]:
        found, level = [()], [()]
        for _ in range(self.length):
            level = [(*p, v) for p in level if not self._is_complete(p) for v in range(self.vocabulary)]
            found += level
        return sorted(found)

    def _is_complete(self, prefix: tuple[int, ...]) -> bool:
        return len(prefix) == self.length or bool(prefix and prefix[-1] == self.eos)

    def _table(self, value) -> np.ndarray:
        table = np.zeros((len(self.completions), self.length), np.int32)
        for row, completion in enumerate(self.completions):
            table[row, : len(completion)] = [value(completion, t) for t in range(len(completion))]
        return table
