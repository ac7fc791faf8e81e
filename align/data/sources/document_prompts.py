"""Prompts that are the beginnings of documents of a token store, for sampling from a pretrained model."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from align.data.examples import TokenExample
from align.data.sources.source import READER_VERSION
from scaling.data.store import Split, TokenStore
from scaling.data.vocabularies import Vocabulary
from scaling.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class DocumentPrompts:
    """Runs of consecutive tokens of a store's documents; its splits become the splits of prompts.

    Attributes:
      store: directory of a token store in the vocabulary that is prepared for.
      tokens: of each prompt; shorter documents are passed over.
      stride: another prompt begins so many tokens after the last; 0 takes the beginning of each document alone.
    """

    store: str
    tokens: int
    stride: int = 0
    kind: Literal["document_prompts"] = "document_prompts"

    num_completions = 0

    def __post_init__(self):
        """See the base class."""
        if self.tokens < 1 or self.stride < 0:
            raise ConfigError(
                f"DocumentPrompts has {self.tokens} tokens and stride {self.stride}",
                "give at least 1 token and a stride of 0 or more",
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the token store."""
        return TokenStore.open(self.store).split_names

    def check(self) -> None:
        """Raises a DataError where the store cannot be opened."""
        TokenStore.open(self.store)

    def request(self) -> dict[str, Any]:
        """Everything that determines the prompts; the store enters by its content."""
        return {
            **dataclasses.asdict(self),
            "store": TokenStore.open(self.store).store_hash,
            "reader_version": READER_VERSION,
        }

    def manifest(self) -> dict[str, Any]:
        """Provenance."""
        store = TokenStore.open(self.store)
        return {"name": self.store, "store_hash": store.store_hash, "corpora": store.manifest["corpora"]}

    def token_examples(self, split: str, vocabulary: Vocabulary) -> Iterator[TokenExample]:
        """Prompts of a split, in the order of the store.

        Raises:
          DataError: the store speaks another vocabulary.
        """
        store = TokenStore.open(self.store)
        if store.vocabulary_sha256 != vocabulary.sha256:
            raise DataError(
                f"the token store {self.store} has another vocabulary than the one that examples are prepared in",
                f"set PrepareExamplesConfig.vocabulary to {store.vocabulary_path}",
            )
        yield from self._prompts(store.split(split))

    def _prompts(self, split: Split) -> Iterator[TokenExample]:
        for document, (start, end) in enumerate(
            zip(split.document_starts[:-1], split.document_starts[1:], strict=True)
        ):
            # The EOS of a document is no part of a prompt.
            firsts = range(start, end - self.tokens, self.stride or end - start)
            for first in firsts:
                prompt = split.tokens[first : first + self.tokens].astype(np.int32)
                yield TokenExample(f"{split.name}:{document}+{first - start}", prompt)
