"""TFDS datasets over the embedded corpora: `tfds.builder("sotu")` works once this module is imported.

Records are TFRecord by default, because SeqIO reads through tf.data, for which TFDS cannot read ArrayRecord. Whoever
wants random access without TensorFlow (`tfds.data_source`) prepares a second copy with `file_format="array_record"`;
the two may not share a directory.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from scaling import gin_files
from scaling.data.corpora import CORPORA, READER_VERSION, Corpus
from scaling.data.known_truth.process import GENERATOR_VERSION, SPLITS, Process
from scaling.data.known_truth.symbols import text_of
from scaling.data.store_writer import output_errors
from scaling.errors import DataError


class _CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """One record per document: `text`, `id` and a word about it (`year`, `topic`, `service`, ...)."""

    CORPUS: ClassVar[Corpus]
    # Nothing is downloaded, so TFDS need not look for checksums (its search needs a package that it does not declare).
    url_infos: ClassVar[dict[str, Any]] = {}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(
            name=f"reader_v{READER_VERSION}", description="Documents as scaling.data.corpora reads them."
        )
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=f"{self.CORPUS.description}\n\nSource: {self.CORPUS.attribution}.",
            license=self.CORPUS.licence,
            features=tfds.features.FeaturesDict(
                {
                    "text": tfds.features.Text(),
                    "id": tfds.features.Text(),
                    self.CORPUS.label: np.int32 if self.CORPUS.label == "year" else tfds.features.Text(),
                }
            ),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {split: self._generate_examples(split) for split in self.CORPUS.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for document in self.CORPUS.documents():
            if self.CORPUS.split_of(document) == split:
                label = int(document.label) if self.CORPUS.label == "year" else document.label
                yield document.id, {"text": document.text, "id": document.id, self.CORPUS.label: label}


class Sotu(_CorpusBuilder):
    """State of the Union messages."""

    CORPUS = CORPORA["sotu"]
    VERSION = tfds.core.Version(CORPUS.version)


class WikipediaLeads(_CorpusBuilder):
    """Lead paragraphs of Wikipedia articles."""

    CORPUS = CORPORA["wikipedia_leads"]
    VERSION = tfds.core.Version(CORPUS.version)


class BugSentences(_CorpusBuilder):
    """Single sentences."""

    CORPUS = CORPORA["bug_sentences"]
    VERSION = tfds.core.Version(CORPUS.version)


class Chitchat(_CorpusBuilder):
    """Conversations."""

    CORPUS = CORPORA["chitchat"]
    VERSION = tfds.core.Version(CORPUS.version)


class Botocore(_CorpusBuilder):
    """Documentation of web-service operations."""

    CORPUS = CORPORA["botocore"]
    VERSION = tfds.core.Version(CORPUS.version)


class CpythonSource(_CorpusBuilder):
    """Source code; its version is that of the interpreter."""

    CORPUS = CORPORA["cpython_source"]
    VERSION = tfds.core.Version(CORPUS.version)


@dataclasses.dataclass(eq=False, kw_only=True)
class ProcessConfig(tfds.core.BuilderConfig):
    """A variant of :class:`KnownTruth`: the process that draws its documents."""

    process: Process


class KnownTruth(tfds.core.GeneratorBasedBuilder):
    """Documents drawn from a process of known entropy (:mod:`scaling.data.known_truth`): `text` and `id`."""

    VERSION = tfds.core.Version(f"{GENERATOR_VERSION}.0.0")
    url_infos: ClassVar[dict[str, Any]] = {}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Documents drawn from a process whose entropy is known.",
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "id": tfds.features.Text()}),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        # Documents that repeat another by chance stay: without them the text would not be that of the process.
        for number, symbols in enumerate(self.builder_config.process.documents(split)):
            name = f"{split}-{number:07d}"
            yield name, {"text": text_of(symbols), "id": name}


def embedded_data_dir(tfds_data_dir: str = "") -> pathlib.Path:
    """Where records of the embedded corpora are kept: the argument, else TFDS_DATA_DIR, else `.cache/tfds` of the
    project."""
    return pathlib.Path(tfds_data_dir or os.environ.get("TFDS_DATA_DIR") or gin_files.PROJECT_ROOT / ".cache" / "tfds")


def prepare_corpus(name: str, tfds_data_dir: str = "", file_format: str = "tfrecord") -> tfds.core.DatasetBuilder:
    """Writes the records of an embedded corpus where they are not there yet, and returns its builder.

    Args:
      name: a key of `CORPORA`.
      tfds_data_dir: see :func:`embedded_data_dir`.
      file_format: "tfrecord" (for SeqIO) or "array_record" (for `tfds.data_source`).

    Raises:
      DataError: the package is missing.
      OutputError: the directory cannot be written.
    """
    corpus = CORPORA[name]
    corpus.folder()  # TFDS would wrap the error of a missing package in its own.
    return _prepared(name, None, tfds_data_dir, file_format)


def prepare_process(
    process: Process, tfds_data_dir: str = "", file_format: str = "tfrecord"
) -> tfds.core.DatasetBuilder:
    """Draws the documents of a process where they are not there yet, and returns their builder; for arguments and errors see
    :func:`prepare_corpus`."""
    config = ProcessConfig(name=process.name, description=str(process.request()), process=process)
    return _prepared("known_truth", config, tfds_data_dir, file_format)


def _prepared(
    name: str, config: tfds.core.BuilderConfig | None, tfds_data_dir: str, file_format: str
) -> tfds.core.DatasetBuilder:
    directory = embedded_data_dir(tfds_data_dir)
    with output_errors(directory):
        builder = tfds.builder(
            name, data_dir=directory, file_format=file_format, **({"config": config} if config else {})
        )
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download; there is none.
            builder.download_and_prepare()
    return builder


def find_prepared(name: str, tfds_data_dir: str = "") -> tfds.core.DatasetBuilder:
    """A dataset of TFDS's own catalogue that the user has prepared; nothing is downloaded.

    Args:
      name: NAME[/CONFIG][:VERSION].
      tfds_data_dir: where TFDS keeps its data; its own default where empty.

    Raises:
      DataError: there is no such dataset, or it is not prepared.
    """
    try:
        builder = tfds.builder(name, data_dir=tfds_data_dir or None)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"TFDS has no dataset {name!r} ({reason})", "check its spelling: tfds://NAME[/CONFIG][:VERSION]"
        ) from error
    if not builder.is_prepared():
        raise DataError(
            f"the TFDS dataset {name!r} is not in {builder.data_dir_root}",
            f"prepare it once with: tfds build {name} --data_dir={builder.data_dir_root} (its download is yours to start)",
        )
    return builder
