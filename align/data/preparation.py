"""From sources to example stores: plans, refuses, writes. TensorFlow is imported only when there are texts to read."""

import dataclasses
import functools
import importlib
import itertools
import os
import pathlib
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal

from align.data import store_writer
from align.data.config import ExampleStoreConfig, PrepareExamplesConfig
from align.data.encoding import Encoder
from align.data.examples import TokenExample
from align.data.sources.document_prompts import DocumentPrompts
from align.data.sources.source import hashed_split
from align.data.sources.symbol_task import SymbolTask
from align.data.sources.tfds_examples import TfdsExamples
from align.data.store import ExampleStore
from align.data.tally import Tally
from scaling.data.preparation import code_version
from scaling.data.vocabularies import Vocabulary, load_vocabulary, train_vocabulary
from scaling.errors import DataError, OutputError
from scaling.run_config import canonical_json

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class PlannedStore:
    """One store of a plan.

    Attributes:
      config: what was asked for.
      path: where it goes.
      request: everything asked for that determines its content; recorded in the manifest.
      state: "there" when a store of the same request exists, else "to write".
    """

    config: ExampleStoreConfig
    path: pathlib.Path
    request: dict[str, Any]
    state: Literal["there", "to write"]

    def line(self) -> str:
        """One line for people."""
        return f"{self.path}: {self.config.source.kind}: {self.state}"


def plan(config: PrepareExamplesConfig) -> list[PlannedStore]:
    """Decides what has to be written.

    Raises:
      DataError: a source or the vocabulary cannot be read.
      OutputError: a directory holds a store of another request.
    """
    vocabulary = _vocabulary(config)
    for store in config.stores:
        store.source.check()
    return [_planned(config, store, vocabulary) for store in config.stores]


def prepare(config: PrepareExamplesConfig, report: Report) -> list[ExampleStore]:
    """Writes every store that is not there yet, and opens all. A store appears whole or not at all.

    Args:
      config: what to write.
      report: receives one line for people at a time.

    Raises:
      DataError: a source or the vocabulary cannot be read, examples cannot be used and `on_bad` is "fail", or none is left.
      OutputError: a directory holds a store of another request, cannot be written, or is full.
    """
    stores = plan(config)
    vocabulary = _vocabulary(config)
    for store in stores:
        if store.state == "there":
            report(f"{store.path} is already there")
        else:
            _write(store, vocabulary, config.tfds_data_dir, report)
    return [ExampleStore.open(store.path) for store in stores]


def _vocabulary(config: PrepareExamplesConfig) -> Vocabulary:
    if config.vocabulary.path:
        return load_vocabulary(config.vocabulary.path)
    return train_vocabulary(config.vocabulary, [], {})


def _planned(config: PrepareExamplesConfig, store: ExampleStoreConfig, vocabulary: Vocabulary) -> PlannedStore:
    path = pathlib.Path(config.output_dir) / store.name
    request = {
        "vocabulary": vocabulary.sha256,
        "source": store.source.request(),
        "encoding": dataclasses.asdict(store.encoding),
        "on_bad": store.on_bad,
        "max_examples": store.max_examples,
        "max_held_out_examples": store.max_held_out_examples,
    }
    if not path.exists():
        return PlannedStore(store, path, request, "to write")
    found = ExampleStore.open(path).manifest.get("request", {})
    # Compared as JSON, in which the manifest keeps it: tuples are lists there.
    different = [key for key in request if canonical_json(found.get(key)) != canonical_json(request[key])]
    if different:
        raise OutputError(
            f"{path} holds a store of another request: it differs in {', '.join(different)}",
            "delete it, or choose another PrepareExamplesConfig.output_dir",
        )
    return PlannedStore(store, path, request, "there")


def _write(store: PlannedStore, vocabulary: Vocabulary, tfds_data_dir: str, report: Report) -> None:
    config = store.config
    flawed, left_out = Tally(), {}
    with store_writer.writing(store.path, vocabulary, config.source.num_completions) as writer:
        splits = _splits(config, vocabulary, tfds_data_dir)
        for split, examples in splits.items():
            encoder = Encoder(config.encoding, config.source.num_completions, vocabulary.eos_id)
            writer.write_split(split, _usable(examples, encoder, config, split))
            flawed.merge(encoder.flawed)
            left_out[split] = encoder.to_json()
            report(f"{store.path} {split}: {writer.summary(split)}{_losses(encoder)}")
        if flawed.total and config.on_bad == "fail":
            raise _refusal(config, flawed)
        writer.finish(
            {
                "source": config.source.manifest(),
                "left_out": left_out,
                "request": store.request,
                "code_version": code_version(),
            }
        )


def _usable(
    examples: Iterator[TokenExample], encoder: Encoder, config: ExampleStoreConfig, split: str
) -> Iterator[TokenExample]:
    fitted = (example for raw in examples if (example := encoder.fitted(raw)) is not None)
    found = False
    for example in itertools.islice(fitted, config.limit(split) or None):
        found = True
        yield example
    if not found and encoder.flawed.total:
        raise _refusal(config, encoder.flawed)


def _refusal(config: ExampleStoreConfig, flawed: Tally) -> DataError:
    remedy = "mend them"
    if config.on_bad == "fail":
        remedy += ", or set ExampleStoreConfig.on_bad to 'drop'"
    return DataError(f"{flawed.total} examples of {config.name!r} cannot be used: {flawed}", remedy)


def _losses(encoder: Encoder) -> str:
    parts = {"dropped": encoder.flawed, "filtered": encoder.filtered, "cut": encoder.truncated}
    return "".join(f"; {word}: {tally}" for word, tally in parts.items() if tally.total)


def _splits(
    config: ExampleStoreConfig, vocabulary: Vocabulary, tfds_data_dir: str
) -> dict[str, Iterator[TokenExample]]:
    source = config.source
    if isinstance(source, DocumentPrompts | SymbolTask):
        return {split: source.token_examples(split, vocabulary) for split in source.splits}
    task = _tasks().example_task(source, vocabulary, tfds_data_dir)
    streams = {split: _tasks().token_examples(task, split) for split in task.splits}
    if isinstance(source, TfdsExamples) and "validation" not in streams and source.validation_share:
        share = source.validation_share
        for split in ("train", "validation"):
            streams[split] = _part(_tasks().token_examples(task, "train"), split, share)
    return streams


def _part(examples: Iterator[TokenExample], split: str, share: float) -> Iterator[TokenExample]:
    """The part of a split that is train or validation: by a hash of the prompt, so that no prompt is in both."""
    for example in examples:
        held_out = hashed_split(example.prompt.tobytes().hex(), share) == "validation"
        if held_out == (split == "validation"):
            yield example


@functools.cache
def _tasks() -> types.ModuleType:
    """Importing TensorFlow takes seconds, so it waits until a text is really read; its notices about itself are switched off."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    return importlib.import_module("align.data.tasks")
