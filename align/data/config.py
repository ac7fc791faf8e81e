"""What examples are prepared (no JAX programs, no TensorFlow here)."""

import dataclasses
from typing import Literal

from align.data.encoding import EncodingConfig
from align.data.sources.chat import Chat
from align.data.sources.document_prompts import DocumentPrompts
from align.data.sources.example_files import ExampleFiles
from align.data.sources.rated_texts import RatedTexts
from align.data.sources.rater_pairs import RaterPairs
from align.data.sources.symbol_task import SymbolTask
from align.data.sources.tfds_examples import TfdsExamples
from scaling.data.config import UNTRAINED, VocabularyConfig
from scaling.errors import ConfigError

Source = RaterPairs | RatedTexts | Chat | ExampleFiles | TfdsExamples | DocumentPrompts | SymbolTask


@dataclasses.dataclass(frozen=True)
class ExampleStoreConfig:
    """One example store.

    Attributes:
      name: its directory below `PrepareExamplesConfig.output_dir`.
      source: where its examples come from.
      encoding: how long prompts and completions may be.
      on_bad: what happens where examples cannot be used (equal sides, an empty completion, a prompt that fills the context, an unknown field, ...): "fail"
        writes nothing and names them, "drop" leaves them out and counts them in the manifest.
      max_examples: at most so many examples of "train"; 0 takes all.
      max_held_out_examples: the same for each other split.
    """

    name: str
    source: Source
    encoding: EncodingConfig
    on_bad: Literal["fail", "drop"] = "fail"
    max_examples: int = 0
    max_held_out_examples: int = 0

    def __post_init__(self):
        """See the base class."""
        if not self.name or "/" in self.name or self.name in (".", ".."):
            raise ConfigError(f"ExampleStoreConfig.name {self.name!r} cannot name a directory", "give a plain name")

    def limit(self, split: str) -> int:
        """The most examples of a split; 0 is no limit."""
        return self.max_examples if split == "train" else self.max_held_out_examples


@dataclasses.dataclass(frozen=True)
class PrepareExamplesConfig:
    """Example stores that share a vocabulary, written by one command.

    Attributes:
      output_dir: holds one directory per store.
      stores: what to write.
      vocabulary: the tokens: the `path` of the vocabulary of the token store that the model was trained on, or a kind that needs no training.
      tfds_data_dir: where TFDS keeps its records; empty takes TFDS_DATA_DIR, else `.cache/tfds` of the project.
    """

    output_dir: str
    stores: tuple[ExampleStoreConfig, ...]
    vocabulary: VocabularyConfig
    tfds_data_dir: str = ""

    def __post_init__(self):
        """See the base class."""
        names = [store.name for store in self.stores]
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"PrepareExamplesConfig.stores has the names {names}", "name at least one store, each by its own name"
            )
        if not self.vocabulary.path and self.vocabulary.kind not in UNTRAINED:
            raise ConfigError(
                "PrepareExamplesConfig.vocabulary has no path",
                "bind VocabularyConfig.path to the vocabulary of the model's token store, such as stores/NAME/vocabulary",
            )
