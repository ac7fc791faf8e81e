"""Rated texts one by one: what a policy is fine-tuned on before its preferences, and the prompts that it is asked to complete."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from align.data.examples import TextExample
from align.data.sources.ratings import RATINGS, SPLITS, Domain, rated_texts
from align.data.sources.source import TextSource


@dataclasses.dataclass(frozen=True)
class RatedTexts(TextSource):
    """Texts of at least 15 ratings each, cut into prompt and completion after some words; the gold score is the mean rating of the whole text.

    Attributes:
      domains: which texts.
      prompt: begins every prompt, such as the prompt of `RaterPairs`.
      prompt_words: so many words of the text follow it; texts with no word left over are filtered.
      least_score: texts with a lower mean rating are filtered ("preferred fine-tuning" takes the good ones alone).
      completions: 1 makes dialogues, 0 prompts.
    """

    domains: tuple[Domain, ...] = ("movies",)
    prompt: str = "Review:"
    prompt_words: int = 0
    least_score: float = -4.0
    completions: Literal[0, 1] = 1
    kind: Literal["rated_texts"] = "rated_texts"

    splits = SPLITS

    def __post_init__(self):
        """See the base class."""
        self._require(bool(self.domains), "domains", "name at least one domain")
        self._require(self.prompt_words >= 0, "prompt_words", "give 0 or more")
        self._require(bool(self.prompt) or self.prompt_words > 0, "prompt", "give a prompt, or prompt_words")

    @property
    def num_completions(self) -> int:
        """See the base class."""
        return self.completions

    def check(self) -> None:
        """See the base class."""
        RATINGS.folder()

    def manifest(self) -> dict[str, Any]:
        """See the base class."""
        return RATINGS.source_manifest()

    def examples(self, split: str) -> Iterator[TextExample]:
        """See the base class."""
        for domain in self.domains:
            for text in rated_texts(domain):
                if text.split == split:
                    yield self._example(text.name, text.text, text.gold)

    def _example(self, name: str, text: str, gold: float) -> TextExample:
        words = text.split(" ")
        first, rest = words[: self.prompt_words], words[self.prompt_words :]
        completion = " " + " ".join(rest)
        filtered = ""
        if not "".join(rest):
            filtered = f"texts of at most {self.prompt_words} words"
        elif gold < self.least_score:
            filtered = f"texts rated below {self.least_score}"
        return TextExample(
            name=name,
            prompt=" ".join([self.prompt, *first]) if self.prompt else " ".join(first),
            completions=(completion,) if self.completions else (),
            scores=(gold,) if self.completions else (),
            filtered=filtered,
        )
