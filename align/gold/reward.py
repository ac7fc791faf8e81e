"""What a gold reward is."""

import dataclasses
import hashlib
import json
from typing import Any, Protocol

import numpy as np

from align.sequences import Sequences
from scaling.data.vocabularies import Vocabulary


class GoldReward(Protocol):
    """Scores completions, exactly and always alike.

    Attributes:
      name: a short name, for records and plots.
      identity: 16 hexadecimal digits; rewards of equal identity give equal scores.
    """

    @property
    def name(self) -> str:
        """See the class."""

    @property
    def identity(self) -> str:
        """See the class."""

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """The reward of each completion.

        Args:
          sequences: of NumPy arrays.
          vocabulary: of the tokens.

        Returns:
          float64 [B].
        """


class NamedByKind:
    """A base for rewards that are dataclasses with a field `kind`, and read nothing but their fields."""

    kind: str

    @property
    def name(self) -> str:
        """See `GoldReward`."""
        return self.kind

    @property
    def identity(self) -> str:
        """See `GoldReward`."""
        return identity_of(self)


def identity_of(reward: Any, *data: str) -> str:
    """The identity of a reward that is a dataclass: of its class, its fields and the hashes of what it reads."""
    content = [type(reward).__name__, dataclasses.asdict(reward), *data]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def content_mask(sequences: Sequences, eos_id: int) -> np.ndarray:
    """bool [B, T]: the tokens of each completion, without the EOS that ends it."""
    index_1xT = np.arange(sequences.tokens.shape[1])[None, :]
    inside_BxT = (index_1xT >= sequences.prompt_lengths[:, None]) & (index_1xT < sequences.lengths[:, None])
    last_1xT = index_1xT == sequences.lengths[:, None] - 1
    return inside_BxT & ~(last_1xT & (sequences.tokens == eos_id))


def texts(sequences: Sequences, vocabulary: Vocabulary, with_prompt: bool = False) -> list[str]:
    """The text of each completion, or of prompt and completion together; EOS and padding are no text."""
    firsts = np.zeros_like(sequences.lengths) if with_prompt else sequences.prompt_lengths
    return [
        vocabulary.decode(row[first:length])
        for row, first, length in zip(sequences.tokens, firsts, sequences.lengths, strict=True)
    ]
