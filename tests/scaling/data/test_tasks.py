"""TFDS and SeqIO for real."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from scaling import gin_files
from scaling.data import preparation, vocabularies
from scaling.data.config import CorpusConfig, PrepareConfig, StoreConfig, VocabularyConfig
from scaling.data.corpora import CORPORA
from scaling.data.sources import Source
from scaling.data.store import TokenStore
from scaling.errors import DataError

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def tiny_dataset(tfds_dir) -> str:
    """A dataset that a user has in TFDS, with a text feature of its own name."""
    import tensorflow_datasets as tfds

    class TinyNotes(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.3")
        url_infos = {}

        def _info(self):
            features = tfds.features.FeaturesDict({"body": tfds.features.Text(), "number": np.int64})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(30), "test": self._generate_examples(5)}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"body": f"note {i} of {count}: naïve \u2581 text\n", "number": i}

    TinyNotes(data_dir=tfds_dir).download_and_prepare()
    return "tfds://tiny_notes:1.2.3"


def test_a_task_tokenises_exactly_and_ends_documents_in_eos(tfds_dir):
    from scaling.data import tasks

    vocabulary = vocabularies.ByteVocabulary()
    task = tasks.corpus_task(Source("wikipedia_leads", 1.0), vocabulary, tfds_dir)
    read = {document.text.decode(): document.ids for document in tasks.tokenised_documents(task, "test")}
    corpus = CORPORA["wikipedia_leads"]
    expected = {document.text for document in corpus.documents() if corpus.split_of(document) == "test"}
    assert set(read) == expected
    for text, ids in read.items():
        assert ids.tolist() == [*vocabulary.encode(text), vocabulary.eos_id]


def test_records_carry_their_provenance(tfds_dir):
    from scaling.data import builders

    builder = builders.prepare_corpus("sotu", tfds_dir)
    years = {int(example["year"]) for example in builder.as_dataset(split="time_shift").as_numpy_iterator()}
    assert min(years) >= 1990 and max(years) == 2026
    assert max(int(example["year"]) for example in builder.as_dataset(split="train").as_numpy_iterator()) < 1990
    assert "public domain" in builder.info.redistribution_info.license


def test_array_records_are_read_at_random(tmp_path):
    import tensorflow_datasets as tfds

    from scaling.data import builders

    builders.prepare_corpus("wikipedia_leads", str(tmp_path), file_format="array_record")
    source = tfds.data_source("wikipedia_leads", split="validation", data_dir=tmp_path)
    assert len(source) == 489 and b"\n\n" in source[3]["text"]


def test_seqio_vocabulary_agrees_with_ours_in_the_graph(bpe):
    import tensorflow as tf

    from scaling.data import tasks

    vocabulary = tasks.SeqioVocabulary(bpe)
    text = "The quick  \u2581 naïve\n"
    encoded = vocabulary.encode_tf(tf.constant(text))
    assert encoded.numpy().tolist() == bpe.encode(text).tolist()
    assert vocabulary.decode_tf(encoded).numpy().decode() == text == vocabulary.decode(encoded.numpy())
    assert vocabulary == tasks.SeqioVocabulary(bpe) != tasks.SeqioVocabulary(vocabularies.ByteVocabulary())


def test_a_mixture_is_registered_with_its_rates(tfds_dir):
    import seqio

    from scaling.data import tasks

    mixture = tasks.register_mixture("light_prose_mixture", vocabularies.ByteVocabulary(), tfds_dir)
    rates = {task.name.split(".")[0]: mixture.get_rate(task) for task in mixture.tasks}
    assert rates == pytest.approx({"sotu": 0.39, "wikipedia_leads": 0.18, "chitchat": 0.43})
    example = next(iter(seqio.get_mixture_or_task(mixture.name).get_dataset(None, "validation", shuffle=False)))
    assert int(example["targets"][-1]) == 1


def test_any_tfds_dataset_is_used_by_name(tiny_dataset, tfds_dir, tmp_path):
    store = StoreConfig(name="notes", corpora=(CorpusConfig(tiny_dataset, text_feature="body"),))
    config = PrepareConfig(str(tmp_path), (store,), VocabularyConfig(kind="byte"), tfds_data_dir=tfds_dir)
    (prepared,) = preparation.prepare(config, print)
    split = prepared.split("train")
    assert split.num_documents == 30 and prepared.split("test").num_documents == 5
    first = vocabularies.load_vocabulary(prepared.vocabulary_path).decode(split.tokens[: split.document_starts[1]])
    assert first.endswith("of 30: naïve \u2581 text\n")


@pytest.mark.parametrize(
    ("task", "feature", "message"),
    [
        ("tfds://tiny_notes:1.2.3", "text", r"no feature 'text'.*one of \['body', 'number'\]"),
        ("tfds://no_such_set", "text", "TFDS has no dataset 'no_such_set'"),
        ("tfds://lm1b", "text", r"'lm1b' is not in .*tfds build lm1b --data_dir="),
        ("tfds://c4/en", "text", r"'c4/en' is not in .*tfds build c4/en --data_dir="),
        ("tfds://wiki40b/en", "text", r"'wiki40b/en' is not in .*tfds build wiki40b/en --data_dir="),
    ],
)
def test_a_tfds_dataset_that_cannot_be_read_is_one_clear_line(tiny_dataset, tfds_dir, task, feature, message):
    from scaling.data import tasks

    with pytest.raises(DataError, match=message):
        tasks.corpus_task(Source(task, 1.0, feature), vocabularies.ByteVocabulary(), tfds_dir)


def test_two_processes_write_the_same_store_and_the_verb_verifies_it(tmp_path, tfds_dir):
    """The second preparation runs from its own TFDS records, as on another machine."""
    store = StoreConfig(name="sotu", corpora=(CorpusConfig("sotu"),), splits=("validation", "test"))
    vocabulary = VocabularyConfig(kind="bpe", size=400, max_training_bytes=300_000)
    (here,) = preparation.prepare(
        PrepareConfig(str(tmp_path / "here"), (store,), vocabulary, tfds_data_dir=tfds_dir), print
    )
    gin_file = tmp_path / "store.gin"
    gin_file.write_text(STORE_GIN)
    verb = [sys.executable, "-m", "scaling.prepare_data"]
    arguments = [
        f"--gin_file={gin_file}",
        f"--output_dir={tmp_path / 'there'}",
        f"--gin.PrepareConfig.tfds_data_dir={tmp_path / 'tfds'}",
    ]
    subprocess.run([*verb, *arguments], check=True, cwd=gin_files.PROJECT_ROOT)
    there = TokenStore.open(tmp_path / "there" / "sotu")
    assert there.store_hash == here.store_hash
    _verify_and_spoil(verb, there.path)


def _verify_and_spoil(verb: list[str], path: pathlib.Path) -> None:
    intact = subprocess.run(
        [*verb, f"--verify={path}"], capture_output=True, text=True, cwd=gin_files.PROJECT_ROOT, check=False
    )
    assert intact.returncode == 0 and "intact" in intact.stdout
    tokens = path / "test-00000.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\x01")
    spoilt = subprocess.run(
        [*verb, f"--verify={path}"], capture_output=True, text=True, cwd=gin_files.PROJECT_ROOT, check=False
    )
    assert spoilt.returncode == 2 and "is altered" in spoilt.stderr and len(spoilt.stderr.splitlines()) == 1


STORE_GIN = """
from __gin__ import dynamic_registration
from scaling.data import config
config.PrepareConfig.output_dir = %gin.REQUIRED
config.PrepareConfig.vocabulary = @config.VocabularyConfig()
config.PrepareConfig.stores = (@config.StoreConfig(),)
config.VocabularyConfig.size = 400
config.VocabularyConfig.max_training_bytes = 300_000
config.StoreConfig.name = "sotu"
config.StoreConfig.corpora = (@config.CorpusConfig(),)
config.StoreConfig.splits = ("validation", "test")
config.CorpusConfig.task = "sotu"
"""
