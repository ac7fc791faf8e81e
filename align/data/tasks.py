"""SeqIO tasks over sources of examples: prompt and completions are tokenised apart, and every completion ends in EOS.

A task's features are `inputs` (the prompt) and `targets` (the completions one after the other), so that it serves as any other SeqIO task where K is 1.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from align.data import builders
from align.data.examples import UNKNOWN, TokenExample
from align.data.sources.comparisons import split_dialogues
from align.data.sources.source import TextSource
from align.data.sources.tfds_examples import TfdsExamples
from scaling.data.tasks import SeqioVocabulary, registered_name
from scaling.data.vocabularies import Vocabulary

# Examples that cross from tf.data to Python at a time: one by one, crossing costs more than tokenising.
_READ_BATCH = 256
_COLUMNS = ("name", "inputs", "targets", "target_lengths", "scores", "margin", "filtered", "flaw")


class ExampleTask(NamedTuple):
    """A source with its SeqIO task.

    Attributes:
      source: what it is.
      task: the registered task.
      builder: its TFDS data set.
    """

    source: TextSource | TfdsExamples
    task: seqio.Task
    builder: tfds.core.DatasetBuilder

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the records."""
        return tuple(self.builder.info.splits)


def example_task(source: TextSource | TfdsExamples, vocabulary: Vocabulary, tfds_data_dir: str = "") -> ExampleTask:
    """The SeqIO task of a source, prepared and registered under a name that holds the vocabulary's hash.

    Raises:
      DataError: the source cannot be read.
      OutputError: TFDS's directory cannot be written.
    """
    by_name = isinstance(source, TfdsExamples)
    builder = (builders.named_builder if by_name else builders.prepare_source)(source, tfds_data_dir)
    name = registered_name(f"align:{source.record_name}", vocabulary)
    if name not in seqio.TaskRegistry.names():
        speaker = SeqioVocabulary(vocabulary)
        seqio.TaskRegistry.add(
            name,
            source=seqio.TfdsDataSource(tfds_data_dir=str(builder.data_path), read_only=True),
            preprocessors=[*([_fields_of(source)] if by_name else []), _tokenise(vocabulary)],
            output_features={
                "inputs": seqio.Feature(speaker, add_eos=False, required=False),
                "targets": seqio.Feature(speaker, add_eos=True, required=False),
            },
            metric_fns=[],
        )
    return ExampleTask(source, seqio.TaskRegistry.get(name), builder)


def token_examples(task: ExampleTask, split: str) -> Iterator[TokenExample]:
    """Tokenised examples of a split, in the fixed order of its records."""
    dataset = task.task.get_dataset(None, split=split, shuffle=False)
    for batch in dataset.ragged_batch(_READ_BATCH).prefetch(2):
        columns = {name: _column(batch[name]) for name in _COLUMNS}
        for row, name in enumerate(columns["name"]):
            targets, lengths = columns["targets"][row], columns["target_lengths"][row]
            yield TokenExample(
                name=name.decode("utf-8"),
                prompt=columns["inputs"][row],
                completions=tuple(np.split(targets, np.cumsum(lengths)[:-1])) if len(lengths) else (),
                scores=columns["scores"][row],
                margin=float(columns["margin"][row]),
                filtered=columns["filtered"][row].decode("utf-8"),
                flaw=columns["flaw"][row].decode("utf-8"),
            )


def _column(values: tf.Tensor | tf.RaggedTensor) -> list[np.ndarray] | np.ndarray:
    if isinstance(values, tf.RaggedTensor):
        return np.split(values.values.numpy(), values.row_splits.numpy()[1:-1])
    return values.numpy()


def _tokenise(vocabulary: Vocabulary):
    """A preprocessor that adds `inputs`, `targets` and `target_lengths` (tokens of each completion, its EOS counted)."""

    def encode(prompt: bytes, completions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        encoded = [np.append(vocabulary.encode(text.decode("utf-8")), vocabulary.eos_id) for text in completions]
        targets = np.concatenate([np.zeros(0), *encoded])
        lengths = np.array([len(ids) for ids in encoded])
        return vocabulary.encode(_bytes(prompt).decode("utf-8")), targets.astype(np.int32), lengths.astype(np.int32)

    def add(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        types = (tf.int32, tf.int32, tf.int32)
        arrays = tf.numpy_function(encode, [example["prompt"], example["completions"]], types, stateful=False)
        for array in arrays:
            array.set_shape([None])
        return {**example, **dict(zip(("inputs", "targets", "target_lengths"), arrays, strict=True))}

    return lambda dataset: dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE)


def _fields_of(source: TfdsExamples):
    """A preprocessor that gives the records of any TFDS data set the fields of ours."""
    whole_dialogues = bool(source.chosen_feature) and not source.prompt_feature

    def split_sides(chosen: bytes, rejected: bytes) -> tuple[bytes, np.ndarray, bytes]:
        comparison = split_dialogues(_bytes(chosen).decode("utf-8"), _bytes(rejected).decode("utf-8"))
        sides = np.array([comparison.chosen.encode(), comparison.rejected.encode()], object)
        return comparison.prompt.encode(), sides, comparison.flaw.encode()

    def fields(number: tf.Tensor, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        flaw = tf.constant("")
        if whole_dialogues:
            sides = [example[source.chosen_feature], example[source.rejected_feature]]
            prompt, completions, flaw = tf.numpy_function(split_sides, sides, (tf.string,) * 3, stateful=False)
            prompt.set_shape([])
            flaw.set_shape([])
        else:
            prompt = example[source.prompt_feature]
            texts = [example[feature] for feature in source.features[1:]]
            completions = tf.stack(texts) if texts else tf.zeros([0], tf.string)
        completions.set_shape([None])
        return {
            "name": tf.strings.join([source.dataset.removeprefix("tfds://"), ":", tf.strings.as_string(number)]),
            "prompt": prompt,
            "completions": completions,
            "scores": tf.fill([source.num_completions], UNKNOWN),
            "margin": tf.constant(UNKNOWN),
            "filtered": tf.constant(""),
            "flaw": flaw,
        }

    return lambda dataset: dataset.enumerate().map(fields)


def _bytes(text: bytes | np.ndarray) -> bytes:
    """TensorFlow hands over bytes in a graph and an array of one object outside."""
    return np.asarray(text, dtype=object).item()
