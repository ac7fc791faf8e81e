"""TFDS data sets of examples: what an embedded source or a user's file holds, as records; and Anthropic's comparisons by name."""

import contextlib
import dataclasses
import gzip
import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from align.data.sources.source import TextSource
from align.data.sources.tfds_examples import TfdsExamples
from scaling.data.builders import embedded_data_dir, find_prepared
from scaling.data.sources import TFDS_SCHEME
from scaling.data.store_writer import output_errors
from scaling.errors import DataError


@dataclasses.dataclass(eq=False, kw_only=True)
class SourceConfig(tfds.core.BuilderConfig):
    """A variant of :class:`AlignmentExamples`: the source of its examples."""

    source: TextSource


class AlignmentExamples(tfds.core.GeneratorBasedBuilder):
    """One record per example; its fields are those of `TextExample`."""

    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded, so TFDS need not look for checksums.
    url_infos: ClassVar[dict[str, Any]] = {}

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text
        return self.dataset_info_from_configs(
            description="Prompts with their completions, in order of preference.",
            features=tfds.features.FeaturesDict(
                {
                    "name": text(),
                    "prompt": text(),
                    "completions": tfds.features.Sequence(text()),
                    "scores": tfds.features.Sequence(np.float32),
                    "margin": np.float32,
                    "filtered": text(),
                    "flaw": text(),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in self.builder_config.source.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        # Numbered, because names of a user's rows may repeat.
        for number, example in enumerate(self.builder_config.source.examples(split)):
            yield number, example._asdict()


class AnthropicHh(tfds.core.GeneratorBasedBuilder):
    """Anthropic's helpful and harmless comparisons (Bai et al. 2022), from the files that they publish: `chosen` and `rejected`, two whole dialogues.

    TFDS itself has no such data set. One configuration per folder: harmless-base, helpful-base, helpful-online, helpful-rejection-sampled.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "copy FOLDER/train.jsonl.gz and FOLDER/test.jsonl.gz of github.com/anthropics/hh-rlhf into {directory}"
    )
    url_infos: ClassVar[dict[str, Any]] = {}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name=name)
        for name in ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"chosen": tfds.features.Text(), "rejected": tfds.features.Text()}
        return self.dataset_info_from_configs(
            description="Pairs of dialogues that differ in the assistant's last answer; people chose between them.",
            license="MIT",
            homepage="https://github.com/anthropics/hh-rlhf",
            features=tfds.features.FeaturesDict(features),
        )

    @classmethod
    def files(cls, directory: pathlib.Path, config: str) -> dict[str, pathlib.Path]:
        """Split -> file, below a directory for what is downloaded by hand."""
        return {split: directory / config / f"{split}.jsonl.gz" for split in ("train", "test")}

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        files = self.files(pathlib.Path(dl_manager.manual_dir), self.builder_config.name)
        return {split: self._generate_examples(file) for split, file in files.items()}

    def _generate_examples(self, file: pathlib.Path) -> Iterator[tuple[int, dict[str, str]]]:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                row = json.loads(line)
                yield number, {"chosen": row["chosen"], "rejected": row["rejected"]}


def prepare_source(source: TextSource, tfds_data_dir: str = "") -> tfds.core.DatasetBuilder:
    """Writes the records of a source where they are not there yet, and returns their builder.

    Raises:
      DataError: the source cannot be read.
      OutputError: the directory cannot be written.
    """
    source.check()
    config = SourceConfig(name=source.record_name, description=json.dumps(source.request()), source=source)
    return _written("alignment_examples", config, tfds_data_dir)


def named_builder(source: TfdsExamples, tfds_data_dir: str = "") -> tfds.core.DatasetBuilder:
    """The builder of a TFDS data set that is prepared already, or that plumbline can prepare from files downloaded by hand.

    Raises:
      DataError: there is no such data set, it is not prepared, or it lacks a feature.
    """
    name = source.dataset.removeprefix(TFDS_SCHEME)
    if name.split("/")[0].split(":")[0] == AnthropicHh.name:
        builder = _anthropic_hh(name, tfds_data_dir)
    else:
        builder = find_prepared(name, tfds_data_dir)
    missing = [feature for feature in source.features if feature not in builder.info.features]
    if missing:
        raise DataError(
            f"the TFDS dataset {name!r} has no feature {missing[0]!r}",
            f"set the features of TfdsExamples to some of {sorted(builder.info.features)}",
        )
    return builder


def _anthropic_hh(name: str, tfds_data_dir: str) -> tfds.core.DatasetBuilder:
    configs = [config.name for config in AnthropicHh.BUILDER_CONFIGS]
    config = name.partition("/")[2].partition(":")[0]
    if config not in configs:
        raise DataError(
            f"anthropic_hh has no configuration {config!r}", f"write tfds://anthropic_hh/NAME with one of {configs}"
        )
    manual = embedded_data_dir(tfds_data_dir) / "downloads" / "manual" / AnthropicHh.name
    with _quiet():
        prepared = tfds.builder("anthropic_hh", data_dir=embedded_data_dir(tfds_data_dir), config=config).is_prepared()
    if not prepared:
        missing = [str(file) for file in AnthropicHh.files(manual, config).values() if not file.is_file()]
        if missing:
            raise DataError(
                f"the file {missing[0]} does not exist",
                AnthropicHh.MANUAL_DOWNLOAD_INSTRUCTIONS.format(directory=manual),
            )
    return _written("anthropic_hh", config, tfds_data_dir, manual)


def _written(
    name: str, config: tfds.core.BuilderConfig | str, tfds_data_dir: str, manual: pathlib.Path | None = None
) -> tfds.core.DatasetBuilder:
    directory = embedded_data_dir(tfds_data_dir)
    with output_errors(directory), _quiet():
        builder = tfds.builder(name, data_dir=directory, config=config)
        tfds.disable_progress_bar()
        download = tfds.download.DownloadConfig(manual_dir=manual) if manual else None
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download; there is none.
            builder.download_and_prepare(download_config=download)
    return builder


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS warns of every configuration that its registry does not list; those of sources are made as they are asked for."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
