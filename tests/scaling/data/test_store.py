"""Stores are content-addressed, atomic, and refused when they are not what their manifest says."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from scaling.data import store as store_lib
from scaling.data import store_writer
from scaling.data.store import TokenStore
from scaling.data.store_writer import Document
from scaling.data.vocabularies import ByteVocabulary
from scaling.errors import DataError, OutputError

TEXTS = {"train": ["one", "two two", "drei dreißig"], "validation": ["held out"]}


def test_a_store_holds_the_documents_it_was_given(make_store):
    store = make_store(TEXTS)
    split, vocabulary = store.split("train"), ByteVocabulary()
    starts = split.document_starts
    found = [split.tokens[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
    assert all(document[-1] == store.eos_id for document in found)
    assert sorted(vocabulary.decode(document) for document in found) == sorted(TEXTS["train"])
    assert split.bytes == sum(len(text.encode()) for text in TEXTS["train"])
    assert int(store.token_bytes[split.tokens].sum()) == split.bytes
    assert split.num_tokens == starts[-1] == split.bytes + 3
    assert TokenStore.open(store.path, verify="hash").store_hash == store.store_hash


def test_the_hash_names_the_content_not_the_place(make_store):
    first, again, other = (
        make_store(TEXTS),
        make_store(TEXTS, name="again"),
        make_store({**TEXTS, "train": ["one"]}, name="other"),
    )
    assert first.store_hash == again.store_hash != other.store_hash
    assert first.store_hash != make_store(TEXTS, name="seed", seed=1).store_hash


def test_a_truncated_file_is_refused_on_opening(make_store):
    path = make_store(TEXTS).path / "train-00000.tokens"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train-00000\.tokens has 50 bytes instead of 52"):
        TokenStore.open(path.parent)


@pytest.mark.parametrize("name", ["train-00000.tokens", "token_bytes.npy", "train.documents.npy", "vocabulary"])
def test_a_lost_file_is_refused_on_opening(make_store, name):
    store = make_store(TEXTS)
    (store.path / name).rename(store.path.parent / "elsewhere")
    with pytest.raises(DataError, match=f"lost its .*{name}.*Remedy: delete the directory"):
        TokenStore.open(store.path)


@pytest.mark.parametrize(
    "name", ["train-00000.tokens", "token_bytes.npy", "train.documents.npy", "vocabulary/vocabulary.json"]
)
def test_an_altered_byte_is_refused_by_its_hash(make_store, name):
    path = make_store(TEXTS).path
    content = bytearray((path / name).read_bytes())
    content[-1] ^= 1
    (path / name).write_bytes(bytes(content))
    with pytest.raises(DataError, match="is altered: its hash is not the manifest's"):
        TokenStore.open(path, verify="hash")


def test_an_edited_manifest_is_refused_on_opening(make_store):
    path = make_store(TEXTS).path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["splits"]["train"]["bytes"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="store_hash does not match"):
        TokenStore.open(path.parent)
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="cannot be read as one"):
        TokenStore.open(path.parent)


def test_what_is_no_store_is_refused(tmp_path, make_store):
    with pytest.raises(DataError, match="there is no token store at"):
        TokenStore.open(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no split 'test'\. Remedy: choose one of \['train', 'validation'\]"):
        make_store(TEXTS).split("test")


def test_stores_of_different_vocabularies_are_told_apart(make_store, bpe):
    first, second = make_store(TEXTS), make_store(TEXTS, vocabulary=bpe, name="bpe")
    first.require_vocabulary_of(first)
    with pytest.raises(DataError, match="have different vocabularies"):
        first.require_vocabulary_of(second)


def test_a_lossy_document_is_refused_and_nothing_is_left(tmp_path):
    vocabulary = ByteVocabulary()
    with (
        pytest.raises(DataError, match="does not keep a document"),
        store_writer.writing(tmp_path / "s", vocabulary, 0) as writer,
    ):
        writer.write_split("train", [Document(b"abc", np.array([100, 101, 1]))])
    with (
        pytest.raises(DataError, match="does not end in its only EOS"),
        store_writer.writing(tmp_path / "s", vocabulary, 0) as writer,
    ):
        writer.write_split("train", [Document(b"abc", vocabulary.encode("abc"))])
    with (
        pytest.raises(DataError, match="has no documents"),
        store_writer.writing(tmp_path / "s", vocabulary, 0) as writer,
    ):
        writer.write_split("train", [])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_nothing_is_left(tmp_path):
    with (
        pytest.raises(OutputError, match="no room to write .*store"),
        store_writer.writing(tmp_path / "store", ByteVocabulary(), 0),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot write"),
        store_writer.writing(tmp_path / "file" / "store", ByteVocabulary(), 0),
    ):
        pass


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"store.partial-{dead.pid}").mkdir()
    (tmp_path / f"store.partial-{os.getppid()}").mkdir()
    with store_writer.atomic_directory(tmp_path / "store"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store", f"store.partial-{os.getppid()}"]


def test_large_vocabularies_take_four_bytes():
    assert store_lib.token_dtype(65_535) == np.uint16
    assert store_lib.token_dtype(65_536) == np.uint32


def test_training_reads_stores_without_tensorflow():
    """TensorFlow costs 20 s and 0.8 GB; a training process must never load it, nor the launcher JAX."""
    script = (
        "import sys; from scaling.data import config, store, batches, permutation, store_writer\n"
        "assert not {'jax', 'tensorflow', 'seqio'} & set(sys.modules), 'store'\n"
        "from scaling.data import device, prefetch, vocabularies\n"
        "assert not {'tensorflow', 'seqio', 'tensorflow_datasets'} & set(sys.modules), 'device'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
