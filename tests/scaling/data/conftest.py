"""Small stores for the tests of the data side."""

import pathlib
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from scaling.data import store_writer
from scaling.data.config import VocabularyConfig
from scaling.data.store import TokenStore
from scaling.data.store_writer import Document
from scaling.data.vocabularies import ByteVocabulary, Vocabulary, train_vocabulary

StoreMaker = Callable[..., TokenStore]


def tokenised(texts: Sequence[str], vocabulary: Vocabulary) -> list[Document]:
    """Documents as a store takes them."""
    return [Document(text.encode(), np.append(vocabulary.encode(text), vocabulary.eos_id)) for text in texts]


@pytest.fixture
def make_store(tmp_path: pathlib.Path) -> StoreMaker:
    """Writes a store of the given texts by split and opens it."""

    def make(
        splits: dict[str, Sequence[str]], vocabulary: Vocabulary | None = None, name: str = "store", seed: int = 0
    ) -> TokenStore:
        vocabulary = vocabulary or ByteVocabulary()
        with store_writer.writing(tmp_path / name, vocabulary, seed) as writer:
            for split, texts in splits.items():
                writer.write_split(split, tokenised(texts, vocabulary))
            writer.finish({"task": "test", "corpora": [], "request": {}, "code_version": "test"})
        return TokenStore.open(tmp_path / name)

    return make


@pytest.fixture
def small_store(make_store: StoreMaker) -> TokenStore:
    """A few hundred documents of 0 to 40 random letters, about 4,000 tokens."""
    generator = random.Random(0)
    texts = ["".join(generator.choices("abcdefgh ", k=generator.randint(0, 40))) for _ in range(200)]
    return make_store({"train": texts, "validation": texts[:20]})


@pytest.fixture(scope="session")
def bpe() -> Vocabulary:
    """A small trained vocabulary."""
    return train_vocabulary(VocabularyConfig(kind="bpe", size=320), TRAINING_TEXT, {})


TRAINING_TEXT = ["The quick brown fox jumps over the lazy dog.\n\nThen it  rests.\tNaïve, perhaps; 你好.\n"] * 20
