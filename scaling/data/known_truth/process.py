"""What every process of known entropy is: parameters, documents, the floor of its loss, and its own best prediction."""

import abc
import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from scaling.data.known_truth.floor import Floor
from scaling.data.known_truth.symbols import CHARACTERS
from scaling.errors import ConfigError

# Raised when equal parameters draw other documents than before, so that cached records are not taken for the new ones.
GENERATOR_VERSION = 1
SPLITS = ("train", "validation", "test")
# Computed entropies are sums of at most a few thousand float64 terms of order one.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class Process(abc.ABC):
    """A source of documents of symbols 0 ... alphabet - 1.

    Attributes:
      seed: of the process's own parameters and of its documents.
      mean_length: expected symbols of a document, its EOS not counted.
      train_tokens: about how many tokens the train split has, EOS included: as many documents are drawn as have that in expectation.
      held_out_tokens: the same for validation, and for test.
    """

    seed: int = 0
    mean_length: float = 256.0
    train_tokens: int = 4_000_000
    held_out_tokens: int = 200_000

    def __post_init__(self):
        """Refuses what no text can be drawn from."""
        self.require(self.seed >= 0, "seed", "give a number from 0")
        self.require(self.mean_length > 1, "mean_length", "give more than 1 symbol")
        self.require(self.train_tokens > 0, "train_tokens", "give a positive number of tokens")
        self.require(self.held_out_tokens > 0, "held_out_tokens", "give a positive number of tokens")
        if self.alphabet_size > len(CHARACTERS):
            raise ConfigError(
                f"{type(self).__name__} needs {self.alphabet_size} symbols, but there are {len(CHARACTERS)} characters",
                "make its alphabet smaller",
            )

    @property
    @abc.abstractmethod
    def kind(self) -> str:
        """A word for it."""

    @property
    @abc.abstractmethod
    def alphabet_size(self) -> int:
        """Symbols, EOS not counted."""

    @abc.abstractmethod
    def draw(self, generator: np.random.Generator, count: int) -> list[np.ndarray]:
        """Independent documents, each int64 [its symbols] and never empty."""

    @abc.abstractmethod
    def floor(self) -> Floor:
        """The least loss that an evaluation can measure."""

    @abc.abstractmethod
    def visible_nats(self, symbols: np.ndarray, ended: bool) -> np.ndarray:
        """Negative log-likelihood of a piece of a document under the best prediction of one who sees this piece alone.

        Args:
          symbols: int64 [n], consecutive in a document, from its start or from where a window cut it; n >= 1.
          ended: whether the document's EOS follows.

        Returns:
          float64 [n - 1 + ended]: of every symbol but the first, and of the EOS.
        """

    @property
    def name(self) -> str:
        """Kind and a hash of the parameters: letters, digits and an underscore."""
        return f"{self.kind}_{hashlib.sha256(self._canonical_json().encode()).hexdigest()[:12]}"

    def request(self) -> dict[str, Any]:
        """All that determines its documents, as JSON values."""
        return {"kind": self.kind, "generator": GENERATOR_VERSION, **dataclasses.asdict(self)}

    def documents(self, split: str) -> list[np.ndarray]:
        """The documents of one of :data:`SPLITS`, each int64 [its symbols]; equal for equal parameters."""
        tokens = self.train_tokens if split == "train" else self.held_out_tokens
        count = max(1, round(tokens / (self.mean_length + 1)))
        return self.draw(self.generator("documents", split), count)

    def generator(self, *words: str) -> np.random.Generator:
        """An independent stream of random numbers for each purpose."""
        digest = hashlib.sha256("/".join(words).encode()).digest()
        return np.random.Generator(np.random.PCG64([self.seed, int.from_bytes(digest[:8], "little")]))

    def require(self, holds: bool, field: str, remedy: str) -> None:
        """Raises a ConfigError that names the field unless the condition holds."""
        if not holds:
            raise ConfigError(f"{type(self).__name__}.{field} is {getattr(self, field)!r}", remedy)

    def _canonical_json(self) -> str:
        return json.dumps(self.request(), sort_keys=True, separators=(",", ":"))
