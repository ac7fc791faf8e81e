"""From chosen examples to padded arrays of a fixed shape, so that one compilation serves every batch."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from align.data.examples import Kind
from align.sequences import Pairs, Sequences
from scaling.errors import DataError

_SHOWN = 3


class Prompts(NamedTuple):
    """Prompts to sample from.

    Attributes:
      tokens: int32 [B, P], right-padded.
      lengths: int32 [B].
    """

    tokens: np.ndarray
    lengths: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """One split of an example store.

    Padding is id 0, which means nothing: what counts follows from lengths.

    Attributes:
      kind: what the examples are.
      source: names the split, for messages.
      prompt_tokens, prompt_starts: flat ids, and int64 [N + 1] offsets into them.
      completion_tokens, completion_starts: the same, int64 [N * K + 1]; None where K = 0.
      scores: float32 [N, K], gold scores; NaN where not known.
      margins: float32 [N]; NaN where not known.
      names_file: holds the names.
    """

    kind: Kind
    source: str
    prompt_tokens: np.ndarray
    prompt_starts: np.ndarray
    completion_tokens: np.ndarray | None
    completion_starts: np.ndarray | None
    scores: np.ndarray
    margins: np.ndarray
    names_file: pathlib.Path

    def __len__(self) -> int:
        """N."""
        return len(self.prompt_starts) - 1

    @property
    def num_completions(self) -> int:
        """K."""
        return self.scores.shape[1]

    @functools.cached_property
    def names(self) -> list[str]:
        """N names."""
        return json.loads(self.names_file.read_text())

    @functools.cached_property
    def prompt_lengths(self) -> np.ndarray:
        """int64 [N], tokens of each prompt."""
        return np.diff(self.prompt_starts)

    @functools.cached_property
    def completion_lengths(self) -> np.ndarray:
        """int64 [N, K], tokens of each completion, EOS included."""
        if self.completion_starts is None:
            return np.zeros(self.scores.shape, np.int64)
        return np.diff(self.completion_starts).reshape(self.scores.shape)

    def prompt(self, index: int) -> np.ndarray:
        """int32 [tokens]: one prompt."""
        return self.prompt_tokens[self.prompt_starts[index] : self.prompt_starts[index + 1]].astype(np.int32)

    def completion(self, index: int, which: int = 0) -> np.ndarray:
        """int32 [tokens]: one completion of an example, its EOS included where it has one."""
        place = index * self.num_completions + which
        first, last = self.completion_starts[place], self.completion_starts[place + 1]
        return self.completion_tokens[first:last].astype(np.int32)

    def batch(self, indices: np.ndarray, prompt_length: int, length: int) -> Sequences | Pairs | Prompts:
        """What a stage of this kind reads: :meth:`pairs`, :meth:`prompts`, or else :meth:`sequences`."""
        if self.kind == "prompts":
            return self.prompts(indices, prompt_length)
        return self.pairs(indices, length) if self.kind == "pairs" else self.sequences(indices, length)

    def prompts(self, indices: np.ndarray, prompt_length: int) -> Prompts:
        """Prompts alone, of any kind of store.

        Args:
          indices: int [B], examples.
          prompt_length: P.

        Raises:
          DataError: a prompt is longer.
        """
        lengths = self.prompt_lengths[indices]
        self._require_room(indices, lengths, prompt_length, "prompts")
        return Prompts(_padded([self.prompt(i) for i in indices], prompt_length), lengths.astype(np.int32))

    def sequences(self, indices: np.ndarray, length: int, which: Sequence[int] | None = None) -> Sequences:
        """Rows of prompt and completion.

        Args:
          indices: int [B], examples.
          length: T.
          which: the completions that are wanted of each example; all K by default.

        Returns:
          Arrays of B * len(which) rows, the completions of an example side by side.

        Raises:
          DataError: a row is longer.
        """
        which = range(self.num_completions) if which is None else which
        rows = [np.concatenate([self.prompt(i), self.completion(i, k)]) for i in indices for k in which]
        lengths = np.array([len(row) for row in rows], np.int32)
        self._require_room(np.repeat(indices, len(which)), lengths, length, "rows of prompt and completion")
        prompt_lengths = np.repeat(self.prompt_lengths[indices], len(which)).astype(np.int32)
        return Sequences(_padded(rows, length), prompt_lengths, lengths)

    def pairs(self, indices: np.ndarray, length: int) -> Pairs:
        """Both sides of preference pairs, [B, T] each; of ranked examples the first and the second completion."""
        return Pairs(self.sequences(indices, length, [0]), self.sequences(indices, length, [1]))

    def _require_room(self, indices: np.ndarray, lengths: np.ndarray, room: int, what: str) -> None:
        over = np.flatnonzero(lengths > room)
        if len(over):
            names = ", ".join(self.names[i] for i in np.asarray(indices)[over[:_SHOWN]])
            raise DataError(
                f"{self.source}: {len(over)} {what} of this batch have more than {room} tokens, the longest {lengths.max()} ({names})",
                "raise the stage's length, or prepare the examples with a smaller EncodingConfig",
            )


def _padded(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    tokens = np.zeros((len(rows), length), np.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    return tokens
