"""From text to token stores: plans, refuses, trains the vocabulary, writes.

TensorFlow is imported only when there is something to write.
"""

import dataclasses
import functools
import importlib
import os
import pathlib
import subprocess
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from scaling import gin_files
from scaling.data import mixing, store_writer, vocabularies
from scaling.data.config import UNTRAINED, PrepareConfig, StoreConfig, TrainVocabularyConfig, VocabularyConfig
from scaling.data.corpora import CORPORA
from scaling.data.manifested import VOCABULARY
from scaling.data.progress import Progress
from scaling.data.sources import Source, check_packages, sources_of
from scaling.data.store import KNOWN_TRUTH, TokenStore
from scaling.data.store_writer import Document
from scaling.data.vocabularies import Vocabulary
from scaling.errors import DataError, OutputError

Report = Callable[[str], None]

# For estimates only; measured on two cores.
_START_SECONDS = 15.0
_SECONDS_PER_MEGABYTE = 0.8


@dataclasses.dataclass(frozen=True)
class PlannedStore:
    """One store of a plan.

    Attributes:
      config: what was asked for.
      path: where it goes.
      sources: its texts.
      request: everything asked for that determines its content; recorded in the manifest.
      state: "there" when a store of the same request exists, else "to write".
    """

    config: StoreConfig
    path: pathlib.Path
    sources: tuple[Source, ...]
    request: dict[str, Any]
    state: Literal["there", "to write"]

    @property
    def megabytes(self) -> float | None:
        """Approximate text, where it is known beforehand."""
        sizes = [source.megabytes for source in self.sources]
        return None if None in sizes else sum(sizes)

    def line(self) -> str:
        """One line for people."""
        size = "size known to TFDS" if self.megabytes is None else f"at most {self.megabytes:.1f} MB of text"
        return f"{self.path}: {' + '.join(source.task for source in self.sources)}, {size}: {self.state}"


def plan(config: PrepareConfig) -> list[PlannedStore]:
    """Decides what has to be written.

    Raises:
      DataError: a text is unknown, or its package is missing, or a vocabulary does not exist or has too few symbols.
      OutputError: a directory holds a store of another request.
    """
    request = vocabulary_request(vocabulary_of(config))
    _check_alphabets(config)
    stores = [_planned(config, store, request) for store in config.stores]
    if any(store.state == "to write" for store in stores):
        check_packages([source for store in stores for source in store.sources])
        check_packages(sources_of(vocabulary_of(config).corpora))
    return stores


def prepare(config: PrepareConfig, report: Report) -> list[TokenStore]:
    """Writes every store that is not there yet, and opens all.

    A store appears whole or not at all; what was finished before a failure stays and is not repeated.

    Args:
      config: what to write.
      report: receives one line for people at a time.

    Raises:
      DataError, OutputError: see :func:`plan`; also a full disk or a directory that cannot be written.
    """
    stores = plan(config)
    for store in stores:
        if store.state == "there":
            report(f"{store.path} is already there")
    if any(store.state == "to write" for store in stores):
        vocabulary = _shared_vocabulary(config, report)
        for store in stores:
            if store.state == "to write":
                _write(store, vocabulary, config, report)
    return [TokenStore.open(store.path) for store in stores]


def estimated_seconds(stores: Sequence[PlannedStore]) -> float | None:
    """Rough duration of what is to be written; None where a text's size is unknown."""
    pending = [store.megabytes for store in stores if store.state == "to write"]
    if not pending:
        return 0.0
    return None if None in pending else _START_SECONDS + _SECONDS_PER_MEGABYTE * sum(pending)


def vocabulary_of(config: PrepareConfig) -> VocabularyConfig:
    """The vocabulary of a preparation, its training text filled in."""
    vocabulary = config.vocabulary
    return vocabulary if vocabulary.corpora else dataclasses.replace(vocabulary, corpora=config.stores[0].corpora)


def vocabulary_request(config: VocabularyConfig) -> dict[str, Any]:
    """Everything asked for that determines a vocabulary."""
    if config.path:
        return {"sha256": vocabularies.load_vocabulary(config.path).sha256}
    if config.kind == "byte":
        return {"kind": "byte"}
    if config.kind == "symbol":
        return {"kind": "symbol", "size": config.size}
    return {
        "kind": config.kind,
        "size": config.size,
        "max_training_bytes": config.max_training_bytes,
        "corpora": [_source_request(source) for source in sources_of(config.corpora)],
    }


def write_vocabulary(config: TrainVocabularyConfig, report: Report) -> Vocabulary:
    """Trains a vocabulary into a directory, or loads it where the same request was trained before.

    Raises:
      DataError: the text is missing or too small.
      OutputError: the directory cannot be written or holds another vocabulary.
    """
    directory, vocabulary_config = pathlib.Path(config.output_dir), config.vocabulary
    if vocabulary_config.path:
        return vocabularies.load_vocabulary(vocabulary_config.path)
    request = vocabulary_request(vocabulary_config)
    if directory.exists():
        return _same_vocabulary(directory, request)
    sources = [] if vocabulary_config.kind in UNTRAINED else sources_of(vocabulary_config.corpora)
    check_packages(sources)
    with store_writer.atomic_directory(directory) as partial:
        documents = _training_texts(sources, vocabulary_config, config.tfds_data_dir)
        vocabulary = vocabularies.train_vocabulary(vocabulary_config, documents, request)
        vocabulary.save(partial)
    report(f"{directory}: {vocabulary.kind} vocabulary of {vocabulary.size} ids, sha256 {vocabulary.sha256[:16]}")
    return vocabulary


def _planned(config: PrepareConfig, store: StoreConfig, vocabulary: dict[str, Any]) -> PlannedStore:
    path = pathlib.Path(config.output_dir) / store.name
    sources = tuple(sources_of(store.corpora))
    request = {
        "vocabulary": vocabulary,
        "seed": config.seed,
        "sources": [_source_request(source) for source in sources],
        "splits": list(store.splits),
        "max_tokens": store.max_tokens,
        "max_held_out_tokens": store.max_held_out_tokens,
        "max_documents": store.max_documents,
    }
    if not path.exists():
        return PlannedStore(store, path, sources, request, "to write")
    found = TokenStore.open(path).manifest["request"]
    different = [key for key in request if found.get(key) != request[key]]
    if different:
        raise OutputError(
            f"{path} holds a store of another request: it differs in {', '.join(different)}",
            "delete it, or choose another PrepareConfig.output_dir",
        )
    return PlannedStore(store, path, sources, request, "there")


def _check_alphabets(config: PrepareConfig) -> None:
    vocabulary = config.vocabulary
    if vocabulary.path or vocabulary.kind != "symbol":
        return
    for process in (corpus.process for store in config.stores for corpus in store.corpora if corpus.process):
        least = process.alphabet_size + vocabularies.SPECIALS
        if vocabulary.size < least:
            raise DataError(
                f"{type(process).__name__} needs {process.alphabet_size} symbols, but VocabularyConfig.size {vocabulary.size} has "
                f"{vocabulary.size - vocabularies.SPECIALS}",
                f"give a VocabularyConfig.size of at least {least}",
            )


def _source_request(source: Source) -> dict[str, Any]:
    version = CORPORA[source.task].source_manifest()["version"] if source.embedded else ""
    return {
        "task": source.task,
        "version": version,
        "share": round(source.share, 9),
        "text_feature": source.text_feature,
        # Not a key of its own elsewhere, so that stores written before there were processes are recognised.
        **({"process": source.process.request()} if source.process else {}),
    }


def _same_vocabulary(directory: pathlib.Path, request: dict[str, Any]) -> Vocabulary:
    found = vocabularies.load_vocabulary(directory)
    untrained = {"byte": {"kind": "byte"}, "symbol": {"kind": "symbol", "size": found.size}}
    same = untrained.get(found.kind, found.training.get("request")) == request
    if not same:
        raise OutputError(
            f"{directory} holds a vocabulary of another request", "delete it, or choose another output directory"
        )
    return found


def _shared_vocabulary(config: PrepareConfig, report: Report) -> Vocabulary:
    vocabulary = vocabulary_of(config)
    directory = pathlib.Path(config.output_dir) / VOCABULARY
    return write_vocabulary(TrainVocabularyConfig(str(directory), vocabulary, config.tfds_data_dir), report)


def _training_texts(sources: Sequence[Source], config: VocabularyConfig, tfds_data_dir: str) -> Iterator[str]:
    for source in sources:
        limit = int(config.max_training_bytes * source.share)
        yield from _tasks().raw_texts(source, "train", limit, tfds_data_dir)


def _write(store: PlannedStore, vocabulary: Vocabulary, config: PrepareConfig, report: Report) -> None:
    with store_writer.writing(store.path, vocabulary, config.seed) as writer:
        tasks = [_tasks().corpus_task(source, vocabulary, config.tfds_data_dir) for source in store.sources]
        for split in _splits(store, tasks):
            documents = _split_documents(store, tasks, split)
            entry = writer.write_split(split, documents)
            report(
                f"{store.path} {split}: {entry['tokens']:,} tokens, {entry['documents']:,} documents, "
                f"{entry['bytes'] / max(1, entry['tokens']):.3f} bytes per token"
            )
        writer.finish(
            {
                "task": "+".join(corpus.name for corpus in store.config.corpora),
                "corpora": [source.manifest() for source in store.sources],
                **_known_truth(store, vocabulary),
                "request": store.request,
                "code_version": code_version(),
            }
        )


def _known_truth(store: PlannedStore, vocabulary: Vocabulary) -> dict[str, Any]:
    """The floor of the loss on a store whose only source is a process, a token a symbol; of mixtures and of longer tokens none is known."""
    process = store.sources[0].process if len(store.sources) == 1 and vocabulary.kind in UNTRAINED else None
    return {KNOWN_TRUTH: process.floor().to_json()} if process else {}


def _splits(store: PlannedStore, tasks: Sequence[Any]) -> list[str]:
    common = [
        split for split in tasks[0].builder.info.splits if all(split in task.builder.info.splits for task in tasks)
    ]
    missing = [split for split in store.config.splits if split not in common]
    if missing or not common:
        raise DataError(
            f"StoreConfig.splits of {store.config.name!r} names {missing or 'nothing'}, which not every source has",
            f"choose among {common}",
        )
    return list(store.config.splits) or common


def _split_documents(store: PlannedStore, tasks: Sequence[Any], split: str) -> Iterator[Document]:
    streams = [_tasks().tokenised_documents(task, split) for task in tasks]
    mixed = mixing.merged(streams, [task.source.share for task in tasks])
    max_tokens, max_documents = store.config.token_limit(split), store.config.max_documents
    known = sum(task.builder.info.splits[split].num_examples for task in tasks)
    progress = Progress(f"{store.config.name} {split}", documents=min(known, max_documents or known), tokens=max_tokens)
    for _, document in mixing.limited(mixed, max_tokens, max_documents):
        progress.add(len(document.ids))
        yield document
    progress.close()


@functools.cache
def _tasks() -> types.ModuleType:
    """Importing TensorFlow takes seconds, so it waits until a text is really read; its notices about itself are
    switched off."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    return importlib.import_module("scaling.data.tasks")


def code_version() -> str:
    """The commit of this program, or "unknown" outside a repository."""
    command = ["git", "-C", str(gin_files.PROJECT_ROOT), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:  # git is not installed
        return "unknown"
    return result.stdout.strip() or "unknown"
