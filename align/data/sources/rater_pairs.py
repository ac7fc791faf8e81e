"""Preference pairs from real raters: two texts under one prompt, and which of them a rater likes better."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from align.data.examples import TextExample
from align.data.sources.ratings import RATINGS, SPLITS, Domain, RatedText, rated_texts
from align.data.sources.source import TextSource
from scaling.data.permutation import KeyedPermutation


@dataclasses.dataclass(frozen=True)
class RaterPairs(TextSource):
    """Pairs of rated texts of one domain; gold scores are mean ratings, labels are as noisy as raters are.

    Attributes:
      domains: which texts; both texts of a pair are of the same domain.
      prompt: the shared prompt. Completions begin with a space.
      label: "rater" asks one sampled rater of each text, of those pairs of raters who tell the texts apart; "majority" takes the side that more pairs of raters
        prefer; "mean" takes the higher mean rating, which is the gold order.
      pairs_per_text: every text is in at most so many pairs, each drawn anew.
      min_gap: least difference of the mean ratings; pairs nearer than that are not made.
      seed: of partners and raters.
    """

    domains: tuple[Domain, ...] = ("movies",)
    prompt: str = "Review:"
    label: Literal["rater", "majority", "mean"] = "rater"
    pairs_per_text: int = 2
    min_gap: float = 0.0
    seed: int = 0
    kind: Literal["rater_pairs"] = "rater_pairs"

    num_completions = 2
    splits = SPLITS

    def __post_init__(self):
        """See the base class."""
        self._require(bool(self.domains), "domains", "name at least one domain")
        self._require(bool(self.prompt), "prompt", "give a prompt, because the first token of a row has no prediction")
        self._require(self.pairs_per_text >= 1, "pairs_per_text", "give at least 1")
        self._require(self.min_gap >= 0, "min_gap", "give 0 or more")

    def check(self) -> None:
        """See the base class."""
        RATINGS.folder()

    def manifest(self) -> dict[str, Any]:
        """See the base class."""
        return RATINGS.source_manifest()

    def examples(self, split: str) -> Iterator[TextExample]:
        """See the base class."""
        for domain in self.domains:
            texts = [text for text in rated_texts(domain) if text.split == split]
            for number in range(self.pairs_per_text):
                key = f"rater_pairs/{self.seed}/{domain}/{split}/{number}"
                order = KeyedPermutation(len(texts), key)(np.arange(len(texts)))
                generator = np.random.Generator(np.random.PCG64([self.seed, number, *f"{domain}/{split}".encode()]))
                for one, other in zip(order[0::2], order[1::2], strict=False):
                    pair = texts[one], texts[other]
                    # A gap is a difference of two means, so equality is one up to rounding.
                    if abs(pair[0].gold - pair[1].gold) >= self.min_gap - 1e-9:
                        yield self._labelled(*pair, generator)

    def _labelled(self, one: RatedText, other: RatedText, generator: np.random.Generator) -> TextExample:
        preference = _preference(one.votes, other.votes, self.label, generator)
        chosen, rejected = (one, other) if preference >= 0 else (other, one)
        return TextExample(
            name=f"{chosen.name}>{rejected.name}",
            prompt=self.prompt,
            completions=(f" {chosen.text}", f" {rejected.text}"),
            scores=(chosen.gold, rejected.gold),
            margin=abs(preference),
            filtered="" if preference else "pairs that the label does not tell apart",
        )


def _preference(
    votes_A: np.ndarray,
    votes_B: np.ndarray,
    label: Literal["rater", "majority", "mean"],
    generator: np.random.Generator,
) -> float:
    """By how many rating points A is preferred to B; negative where B is preferred, 0 where neither is."""
    if label == "mean":
        return float(votes_A.mean() - votes_B.mean())
    gaps = (votes_A[:, None] - votes_B[None, :]).ravel()
    if label == "majority":
        sign = np.sign(np.sign(gaps).sum())
        return float(sign * np.abs(gaps).mean())
    told_apart = gaps[gaps != 0]
    return float(generator.choice(told_apart)) if len(told_apart) else 0.0


def agreement_probability(votes_A: np.ndarray, votes_B: np.ndarray) -> float:
    """The probability that the label "rater" prefers the text with the higher mean; NaN where the means, or all votes, are equal."""
    gaps = votes_A[:, None] - votes_B[None, :]
    told_apart = np.count_nonzero(gaps)
    direction = np.sign(votes_A.mean() - votes_B.mean())
    return np.count_nonzero(gaps * direction > 0) / told_apart if told_apart and direction else float("nan")
