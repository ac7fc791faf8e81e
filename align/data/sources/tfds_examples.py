"""Examples of any TFDS data set, by name."""

import dataclasses
from typing import Any, Literal

from align.data.sources.source import READER_VERSION
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TfdsExamples:
    """A TFDS data set with features of text.

    Attributes:
      dataset: `tfds://NAME[/CONFIG][:VERSION]`, such as `tfds://anthropic_hh/helpful-base`, which plumbline reads itself (see `builders`).
      prompt_feature: the prompt; empty where `chosen_feature` and `rejected_feature` are whole dialogues that share theirs.
      completion_feature: the completion of dialogues; empty for pairs and prompts.
      chosen_feature, rejected_feature: the sides of pairs; empty for dialogues and prompts.
      validation_share: share of the prompts of "train" that become "validation" where the data set has no such split.
    """

    dataset: str
    prompt_feature: str = ""
    completion_feature: str = ""
    chosen_feature: str = "chosen"
    rejected_feature: str = "rejected"
    validation_share: float = 0.05
    kind: Literal["tfds"] = "tfds"

    def __post_init__(self):
        """See the base class."""
        if not self.dataset.startswith("tfds://"):
            raise ConfigError(f"TfdsExamples.dataset is {self.dataset!r}", "write tfds://NAME[/CONFIG][:VERSION]")
        if bool(self.chosen_feature) != bool(self.rejected_feature):
            raise ConfigError(
                "TfdsExamples names one side of its pairs only", "name chosen_feature and rejected_feature"
            )
        if self.completion_feature and self.chosen_feature:
            raise ConfigError("TfdsExamples names completions and pairs", "leave one of the two empty")
        if not self.prompt_feature and not self.chosen_feature:
            raise ConfigError("TfdsExamples.prompt_feature is empty", "name the feature that holds the prompt")
        if not 0 <= self.validation_share < 1:
            raise ConfigError(
                f"TfdsExamples.validation_share is {self.validation_share}", "give a share from 0 to below 1"
            )

    @property
    def num_completions(self) -> int:
        """K."""
        return 2 if self.chosen_feature else 1 if self.completion_feature else 0

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are read."""
        named = (self.prompt_feature, self.completion_feature, self.chosen_feature, self.rejected_feature)
        return tuple(feature for feature in named if feature)

    @property
    def record_name(self) -> str:
        """The name in SeqIO's registry, together with the features read."""
        return ".".join([self.dataset, *self.features])

    def check(self) -> None:
        """Whether TFDS has the data set is known only when TensorFlow is loaded."""

    def request(self) -> dict[str, Any]:
        """Everything that determines the examples."""
        return {**dataclasses.asdict(self), "reader_version": READER_VERSION}

    def manifest(self) -> dict[str, Any]:
        """Provenance."""
        return {"name": self.dataset, "licence": "as its TFDS page states"}
