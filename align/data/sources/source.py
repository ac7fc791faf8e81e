"""What every source of text is, and how examples are assigned to splits."""

import abc
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from align.data.examples import TextExample
from scaling.errors import ConfigError

# Raised when a source yields other examples than before for equal fields, so that cached records are not taken for the new ones.
READER_VERSION = 1


@dataclasses.dataclass(frozen=True)
class TextSource(abc.ABC):
    """A source of texts that TFDS keeps as records and a SeqIO task tokenises.

    Subclasses have a field `kind`, which names them in requests and tells them apart where a configuration is read back.
    """

    @property
    @abc.abstractmethod
    def num_completions(self) -> int:
        """K, completions per example.

        Raises:
          DataError: the source cannot be read.
        """

    @property
    @abc.abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that have examples."""

    @abc.abstractmethod
    def examples(self, split: str) -> Iterator[TextExample]:
        """Examples of a split, in a fixed order.

        Raises:
          DataError: the source cannot be read.
        """

    @abc.abstractmethod
    def manifest(self) -> dict[str, Any]:
        """Provenance: name, version, licence, attribution, and hashes of files where it reads any."""

    @abc.abstractmethod
    def check(self) -> None:
        """Finds what is missing before anything slow starts.

        Raises:
          DataError: naming the package or file, and what to do.
        """

    def request(self) -> dict[str, Any]:
        """Everything that determines the examples."""
        return {**dataclasses.asdict(self), "reader_version": READER_VERSION}

    @property
    def record_name(self) -> str:
        """The name of its records in TFDS: equal for equal requests only."""
        digest = hashlib.sha256(json.dumps(self.request(), sort_keys=True).encode()).hexdigest()
        return f"{self.request()['kind']}_{digest[:12]}"

    def _require(self, holds: bool, field: str, remedy: str) -> None:
        if not holds:
            raise ConfigError(f"{type(self).__name__}.{field} is {getattr(self, field)!r}", remedy)


def hashed_split(unit: str, held_out: float) -> str:
    """The split of a unit that must stay together (a prompt, a conversation): by a hash of its text, so that it never moves.

    Args:
      unit: its name or text.
      held_out: share of validation, and as much again of test.
    """
    place = int.from_bytes(hashlib.sha256(unit.encode()).digest()[:8], "big") / 2**64
    return "validation" if place < held_out else "test" if place < 2 * held_out else "train"
