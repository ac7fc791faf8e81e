"""SeqIO tasks and mixtures over TFDS: embedded corpora, their mixtures, and any TFDS dataset by name.

A task ends with tokens and an EOS per document. Packing is left to the token store: SeqIO's own packing cuts every
document to the sequence length and drops the rest.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from scaling.data import builders
from scaling.data.config import CorpusConfig
from scaling.data.corpora import CORPORA, MIXTURES
from scaling.data.sources import TFDS_SCHEME, Source, sources_of
from scaling.data.store_writer import Document
from scaling.data.vocabularies import Vocabulary
from scaling.errors import DataError

_FEATURE = "targets"
# Documents that cross from tf.data to Python at a time: one by one, crossing costs more than tokenising a sentence.
_READ_BATCH = 256


class SeqioVocabulary(seqio.Vocabulary):
    """One of our vocabularies as SeqIO wants it.

    SeqIO's own SentencePiece class is not used because it turns a literal U+2581 into a space, so text would not
    survive; the ids are the same otherwise.
    """

    def __init__(self, vocabulary: Vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    @property
    def bos_id(self) -> None:
        """See the base class."""
        return None

    @property
    def eos_id(self) -> int:
        """See the base class."""
        return self.vocabulary.eos_id

    @property
    def unk_id(self) -> int:
        """See the base class."""
        return self.vocabulary.unk_id

    @property
    def _base_vocab_size(self) -> int:
        return self.vocabulary.size

    def _encode(self, s: str) -> list[int]:
        return self.vocabulary.encode(s).tolist()

    def _decode(self, ids: Sequence[int]) -> str:
        return self.vocabulary.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        # TensorFlow hands over bytes in a graph and an array of one object outside.
        def encode(text: bytes | np.ndarray) -> np.ndarray:
            return self.vocabulary.encode(np.asarray(text, dtype=object).item().decode("utf-8"))

        ids = tf.numpy_function(encode, [s], tf.int32, stateful=False)
        ids.set_shape([None])
        return ids

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        text = tf.numpy_function(
            lambda row: self.vocabulary.decode(row).encode("utf-8"), [ids], tf.string, stateful=False
        )
        text.set_shape([])
        return text

    def __eq__(self, other: object) -> bool:
        """See the base class."""
        return isinstance(other, SeqioVocabulary) and other.vocabulary.sha256 == self.vocabulary.sha256

    def __hash__(self) -> int:
        """See the base class."""
        return hash(self.vocabulary.sha256)


class CorpusTask(NamedTuple):
    """A source with its SeqIO task.

    Attributes:
      source: what it is.
      task: the registered task.
      builder: its TFDS dataset.
    """

    source: Source
    task: seqio.Task
    builder: tfds.core.DatasetBuilder


def corpus_task(source: Source, vocabulary: Vocabulary, tfds_data_dir: str = "") -> CorpusTask:
    """The SeqIO task of one source, prepared and registered under a name that holds the vocabulary's hash.

    Raises:
      DataError: the package or the TFDS dataset is missing, or it has no such text feature.
    """
    builder = _prepared_builder(source, tfds_data_dir)
    name = registered_name(source.task, vocabulary)
    if name not in seqio.TaskRegistry.names():
        seqio.TaskRegistry.add(
            name,
            source=seqio.TfdsDataSource(tfds_data_dir=str(builder.data_path), read_only=True),
            preprocessors=[
                functools.partial(seqio.preprocessors.rekey, key_map={_FEATURE: source.text_feature}),
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos,
            ],
            output_features={_FEATURE: seqio.Feature(SeqioVocabulary(vocabulary), add_eos=True)},
            metric_fns=[],
        )
    return CorpusTask(source, seqio.TaskRegistry.get(name), builder)


def register_mixture(name: str, vocabulary: Vocabulary, tfds_data_dir: str = "") -> seqio.Mixture:
    """Registers a mixture of `MIXTURES` with its tasks, for programs that read through SeqIO (the token store mixes by
    bytes instead).

    Raises:
      DataError: the name is unknown, or a package is missing.
    """
    if name not in MIXTURES:
        raise DataError(f"there is no mixture {name!r}", f"choose one of {sorted(MIXTURES)}")
    tasks = [corpus_task(source, vocabulary, tfds_data_dir) for source in sources_of([CorpusConfig(name)])]
    full_name = registered_name(name, vocabulary)
    if full_name not in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.add(full_name, [(task.task.name, task.source.share) for task in tasks])
    return seqio.MixtureRegistry.get(full_name)


def registered_name(task: str, vocabulary: Vocabulary) -> str:
    """The name in SeqIO's registries, which allow letters, digits, dots, colons and underscores."""
    return f"{re.sub(r'[^A-Za-z0-9_.:]+', '_', task)}.{vocabulary.kind}{vocabulary.size}.{vocabulary.sha256[:8]}"


def tokenised_documents(task: CorpusTask, split: str) -> Iterator[Document]:
    """Documents of a split, in the fixed order of its records."""
    dataset = task.task.get_dataset(None, split=split, shuffle=False)
    for batch in dataset.ragged_batch(_READ_BATCH).prefetch(2):
        ids, splits = batch[_FEATURE].values.numpy(), batch[_FEATURE].row_splits.numpy()
        for row, text in enumerate(batch[f"{_FEATURE}_pretokenized"].numpy()):
            yield Document(text=text, ids=ids[splits[row] : splits[row + 1]])


def raw_texts(source: Source, split: str, max_bytes: int, tfds_data_dir: str = "") -> Iterator[str]:
    """The first texts of a split, at most `max_bytes` bytes: TFDS stores records in the order of a hash, so they are a
    fair sample.

    Raises:
      DataError: see :func:`corpus_task`; also when there is no such split.
    """
    builder = _prepared_builder(source, tfds_data_dir)
    if split not in builder.info.splits:
        raise DataError(
            f"{source.task!r} has no split {split!r}",
            f"choose a corpus that has one; it has {list(builder.info.splits)}",
        )
    left = max_bytes
    for example in builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator():
        text = example[source.text_feature]
        left -= len(text)
        if left < 0:
            return
        yield text.decode("utf-8")


def _prepared_builder(source: Source, tfds_data_dir: str) -> tfds.core.DatasetBuilder:
    if source.process:
        return builders.prepare_process(source.process, tfds_data_dir)
    if source.task in CORPORA:
        return builders.prepare_corpus(source.task, tfds_data_dir)
    name = source.task.removeprefix(TFDS_SCHEME)
    builder = builders.find_prepared(name, tfds_data_dir)
    if source.text_feature not in builder.info.features:
        raise DataError(
            f"the TFDS dataset {name!r} has no feature {source.text_feature!r}",
            f"set CorpusConfig.text_feature to one of {sorted(builder.info.features)}",
        )
    return builder
