"""Stores of processes, written without TensorFlow."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from scaling.data import store_writer
from scaling.data.known_truth.process import SPLITS, Process
from scaling.data.known_truth.symbols import text_of
from scaling.data.store import KNOWN_TRUTH, TokenStore
from scaling.data.vocabularies import SymbolVocabulary


@pytest.fixture
def write_process(tmp_path: pathlib.Path) -> Callable[[Process], TokenStore]:
    """Writes all splits of a process with its entropy in the manifest, as preparing does, and opens the store."""

    def write(process: Process) -> TokenStore:
        vocabulary = SymbolVocabulary(process.alphabet_size + 3)
        with store_writer.writing(tmp_path / process.name, vocabulary, seed=0) as writer:
            for split in SPLITS:
                texts = [text_of(symbols) for symbols in process.documents(split)]
                documents = [(text.encode(), np.append(vocabulary.encode(text), vocabulary.eos_id)) for text in texts]
                writer.write_split(split, [store_writer.Document(*document) for document in documents])
            writer.finish({"task": process.name, "corpora": [], KNOWN_TRUTH: process.floor().to_json()})
        return TokenStore.open(tmp_path / process.name)

    return write
