"""Example stores made in a moment, of bytes."""

import pathlib
from collections.abc import Sequence

import numpy as np

from align.data import store_writer
from align.data.examples import TokenExample
from align.data.store import ExampleStore
from scaling.data.vocabularies import ByteVocabulary, Vocabulary

BYTES = ByteVocabulary()


def encoded(text: str, vocabulary: Vocabulary = BYTES) -> np.ndarray:
    """A completion as a store holds it."""
    return np.append(vocabulary.encode(text), vocabulary.eos_id)


def token_examples(texts: Sequence[tuple], vocabulary: Vocabulary = BYTES) -> list[TokenExample]:
    """Examples of (prompt, completion, ...) texts, named by their number."""
    return [
        TokenExample(
            name=f"example {number}",
            prompt=vocabulary.encode(prompt),
            completions=tuple(encoded(completion, vocabulary) for completion in completions),
        )
        for number, (prompt, *completions) in enumerate(texts)
    ]


def write_store(
    path: pathlib.Path, splits: dict[str, Sequence[TokenExample]], vocabulary: Vocabulary = BYTES
) -> ExampleStore:
    """Writes and opens a store."""
    num_completions = len(next(iter(splits.values()))[0].completions)
    with store_writer.writing(path, vocabulary, num_completions) as writer:
        for name, examples in splits.items():
            writer.write_split(name, examples)
        writer.finish({"source": "test"})
    return ExampleStore.open(path)


def random_dialogues(count: int, longest: int, seed: int = 0) -> list[tuple[str, str]]:
    """Prompts and replies of random letters, 1 to `longest` of each."""
    generator = np.random.default_rng(seed)

    def text():
        return "".join(generator.choice(list("abcdef "), generator.integers(1, longest + 1)))

    return [(text(), "x" + text()) for _ in range(count)]
