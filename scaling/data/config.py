"""Data, as data: what a run reads and what is prepared for it (no JAX, no TensorFlow here)."""

import dataclasses
from typing import Literal

from scaling.data.known_truth.grammar import Grammar
from scaling.data.known_truth.hidden_markov import HiddenMarkov
from scaling.data.known_truth.markov import MarkovChain
from scaling.data.known_truth.skills import Skills
from scaling.data.known_truth.symbols import CHARACTERS
from scaling.errors import ConfigError

# Kinds of vocabulary that no text is needed for.
UNTRAINED = ("byte", "symbol")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a run trains on.

    Attributes:
      store: directory of a token store written by `scaling.prepare_data`.
      sequence_length: tokens per sequence (T).
      split: split of the store.
      isolate_documents: attention, positions and loss do not cross document boundaries; False reads one endless text.
      placement: "device" keeps the whole split in device memory and gathers inside the jitted step, "host" reads it
        from disk ahead of the step, "auto" chooses by size.
    """

    store: str
    sequence_length: int
    split: str = "train"
    isolate_documents: bool = True
    placement: Literal["auto", "device", "host"] = "auto"

    def __post_init__(self):
        """See the base class."""
        if self.sequence_length < 1:
            raise ConfigError(
                f"DataConfig.sequence_length is {self.sequence_length!r}", "give a positive number of tokens"
            )


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """One source of text.

    Attributes:
      task: an embedded corpus (`sotu`), a mixture (`prose_mixture`) or any TFDS dataset by name:
        `tfds://NAME[/CONFIG][:VERSION]`; empty where `process` is given.
      rate: share of this source among several, by bytes of text; shares are normalised. A mixture's own rates multiply
        it.
      text_feature: the feature that holds the text (TFDS datasets by name only).
      process: draws the text instead (:mod:`scaling.data.known_truth`).
    """

    task: str = ""
    rate: float = 1.0
    text_feature: str = "text"
    process: MarkovChain | HiddenMarkov | Grammar | Skills | None = None

    def __post_init__(self):
        """See the base class."""
        if bool(self.task) == bool(self.process):
            raise ConfigError(
                f"CorpusConfig has the task {self.task!r} and the process {self.process!r}", "give one of the two"
            )
        if not self.rate > 0:
            raise ConfigError(f"CorpusConfig.rate of {self.name!r} is {self.rate!r}", "give a positive share")

    @property
    def name(self) -> str:
        """The task, or the name of the process."""
        return self.process.name if self.process else self.task


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    """Which tokens text becomes.

    Attributes:
      kind: "bpe" or "unigram" (SentencePiece, trained), "byte" (nothing to train), or "symbol" (the same: one id per character of generated text).
      size: ids, the three special ones and, where there is training, the 256 bytes of the fallback included; ignored for "byte" (always 259).
      corpora: text whose *train* split it is trained on; empty takes the first store's.
      max_training_bytes: at most this much text is used: the first documents of the split, in the shuffled order that
        TFDS stores.
      path: directory of a vocabulary that exists already, used instead of training one.
    """

    kind: Literal["bpe", "unigram", "byte", "symbol"] = "bpe"
    size: int = 4096
    corpora: tuple[CorpusConfig, ...] = ()
    max_training_bytes: int = 20_000_000
    path: str = ""

    def __post_init__(self):
        """See the base class."""
        if self.kind == "symbol" and not 5 <= self.size <= 3 + len(CHARACTERS):
            raise ConfigError(
                f"VocabularyConfig.size is {self.size}, but symbols number 2 to {len(CHARACTERS)} and 3 ids are special",
                f"give 5 to {3 + len(CHARACTERS)}",
            )
        if self.kind not in UNTRAINED and not self.path and self.size < 300:
            raise ConfigError(
                f"VocabularyConfig.size is {self.size}, but 259 ids are taken by specials and single bytes",
                "give at least 300, or kind 'byte'",
            )


@dataclasses.dataclass(frozen=True)
class StoreConfig:
    """One token store.

    Attributes:
      name: its directory below `PrepareConfig.output_dir`.
      corpora: the sources; several are mixed by their rates, and no document is used twice.
      splits: which splits to write; empty takes every split that all sources have.
      max_tokens: "train" ends with the document that reaches this many tokens; 0 takes all.
      max_held_out_tokens: the same for each other split.
      max_documents: at most this many documents of each split; 0 takes all.
    """

    name: str
    corpora: tuple[CorpusConfig, ...]
    splits: tuple[str, ...] = ()
    max_tokens: int = 0
    max_held_out_tokens: int = 0
    max_documents: int = 0

    def __post_init__(self):
        """See the base class."""
        if not self.corpora:
            raise ConfigError(f"StoreConfig.corpora of {self.name!r} is empty", "name at least one source of text")
        if not self.name or "/" in self.name or self.name in (".", "..", "vocabulary"):
            raise ConfigError(f"StoreConfig.name {self.name!r} cannot name a directory", "give a plain name")

    def token_limit(self, split: str) -> int:
        """The limit that applies to `split`; 0 is none."""
        return self.max_tokens if split == "train" else self.max_held_out_tokens


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Stores that share a vocabulary, written by one command.

    Attributes:
      output_dir: holds `vocabulary/` and one directory per store.
      stores: what to write.
      vocabulary: the tokens.
      seed: of the order of documents.
      tfds_data_dir: where TFDS keeps its records; empty takes TFDS_DATA_DIR, else `.cache/tfds` of the project.
    """

    output_dir: str
    stores: tuple[StoreConfig, ...]
    vocabulary: VocabularyConfig = VocabularyConfig()
    seed: int = 0
    tfds_data_dir: str = ""

    def __post_init__(self):
        """See the base class."""
        if not self.stores:
            raise ConfigError("PrepareConfig.stores is empty", "name at least one store")
        names = [store.name for store in self.stores]
        if len(set(names)) < len(names):
            raise ConfigError(f"PrepareConfig.stores has two stores of one name: {names}", "give each its own name")


@dataclasses.dataclass(frozen=True)
class TrainVocabularyConfig:
    """A vocabulary on its own, without a store.

    Attributes:
      output_dir: directory of the vocabulary.
      vocabulary: what to train, its `corpora` named.
      tfds_data_dir: as in `PrepareConfig`.
    """

    output_dir: str
    vocabulary: VocabularyConfig
    tfds_data_dir: str = ""

    def __post_init__(self):
        """See the base class."""
        if not self.vocabulary.corpora and self.vocabulary.kind not in UNTRAINED:
            raise ConfigError("VocabularyConfig.corpora is empty", "name the text that the vocabulary is trained on")
