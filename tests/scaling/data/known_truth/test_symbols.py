"""The vocabulary of generated text: one symbol, one character, one token."""

import numpy as np
import pytest

from scaling.data import vocabularies
from scaling.data.config import CorpusConfig, VocabularyConfig
from scaling.data.known_truth.markov import MarkovChain
from scaling.data.known_truth.symbols import CHARACTERS, symbols_of, text_of
from scaling.data.vocabularies import SymbolVocabulary
from scaling.errors import ConfigError, DataError


def test_every_symbol_is_one_token_of_one_byte_and_comes_back():
    vocabulary = SymbolVocabulary(3 + len(CHARACTERS))
    symbols = np.arange(len(CHARACTERS))
    ids = vocabulary.encode(text_of(symbols))
    assert ids.dtype == np.int32 and ids.tolist() == list(range(3, 97))
    assert vocabulary.decode(ids) == text_of(symbols)
    np.testing.assert_array_equal(SymbolVocabulary.symbols(ids), symbols)
    np.testing.assert_array_equal(symbols_of(text_of(symbols)), symbols)
    assert vocabulary.token_bytes.tolist() == [0, 0, 0] + [1] * 94


@pytest.mark.parametrize("text", ["!\"#'", "! ", "!é"])
def test_a_character_outside_the_alphabet_is_refused(text):
    with pytest.raises(DataError, match=r"symbol vocabulary of 8 ids has no character .*raise VocabularyConfig.size"):
        SymbolVocabulary(8).encode(text)


def test_it_survives_its_directory_and_sizes_are_different_vocabularies(tmp_path):
    vocabulary = vocabularies.train_vocabulary(VocabularyConfig(kind="symbol", size=11), [], {})
    vocabulary.save(tmp_path / "v")
    again = vocabularies.load_vocabulary(tmp_path / "v")
    assert (again.kind, again.size, again.sha256) == ("symbol", 11, vocabulary.sha256)
    assert again.sha256 != SymbolVocabulary(12).sha256


@pytest.mark.parametrize("size", [4, 98])
def test_a_size_that_has_no_characters_is_refused(size):
    with pytest.raises(ConfigError, match="VocabularyConfig.size is .* 2 to 94 and 3 ids are special"):
        VocabularyConfig(kind="symbol", size=size)


@pytest.mark.parametrize("fields", [{}, {"task": "sotu", "process": MarkovChain()}])
def test_a_source_is_a_task_or_a_process(fields):
    with pytest.raises(ConfigError, match="CorpusConfig has the task .*give one of the two"):
        CorpusConfig(**fields)
