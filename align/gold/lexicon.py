"""Sentiment by a lexicon of rated words: an exact program over the text of a completion (Hutto and Gilbert 2014)."""

import ast
import dataclasses
import functools
import hashlib
import re
from typing import Any, Literal

import numpy as np

from align.data.sources.packages import VADER
from align.gold.reward import identity_of, texts
from align.sequences import Sequences
from scaling.data.vocabularies import Vocabulary
from scaling.errors import ConfigError

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_FILE = "vader_lexicon.txt"
RATERS = 10
LARGEST_VOTE = 4.0


@dataclasses.dataclass(frozen=True)
class LexiconSentiment:
    """Sentiment of a completion, between -1 and 1.

    Attributes:
      rule: "vader" is the compound score of the package's own analyser, which knows negation, degree words, capitals and punctuation; "mean_valence" is the
        mean over words of the valence that raters gave them, divided by 4, words without one counting 0.
      with_prompt: judge prompt and completion together.
    """

    rule: Literal["vader", "mean_valence"] = "vader"
    with_prompt: bool = False
    kind: Literal["lexicon_sentiment"] = "lexicon_sentiment"

    @property
    def name(self) -> str:
        """See `GoldReward`."""
        return self.rule

    @property
    def identity(self) -> str:
        """See `GoldReward`."""
        return identity_of(self, _lexicon_sha256(), VADER.version)

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`.

        Raises:
          DataError: the package is missing.
        """
        return self.score_texts(texts(sequences, vocabulary, self.with_prompt))

    def score_texts(self, lines: list[str]) -> np.ndarray:
        """The same of texts, float64 [B]."""
        if self.rule == "vader":
            analyser = _analyser()
            return np.array([analyser.polarity_scores(line)["compound"] for line in lines], np.float64)
        return rater_scores(lines).mean(axis=1)


@dataclasses.dataclass(frozen=True)
class LexiconRater:
    """One of ten noisy raters of any text, between -1 and 1, whose mean is the "mean_valence" of :class:`LexiconSentiment`.

    Every word of the lexicon has ten votes; rater r judges by the vote in place r. Raters are anonymous, so this is no person's taste: it is label noise of the
    size that people really show, with a gold score that is known.

    Attributes:
      rater: 0 to 9.
      with_prompt: judge prompt and completion together.
    """

    rater: int
    with_prompt: bool = False
    kind: Literal["lexicon_rater"] = "lexicon_rater"

    def __post_init__(self):
        """See the base class."""
        if not 0 <= self.rater < RATERS:
            raise ConfigError(f"LexiconRater.rater is {self.rater}", f"give a number from 0 to {RATERS - 1}")

    @property
    def name(self) -> str:
        """See `GoldReward`."""
        return f"{self.kind}_{self.rater}"

    @property
    def identity(self) -> str:
        """See `GoldReward`."""
        return identity_of(self, _lexicon_sha256())

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`.

        Raises:
          DataError: the package is missing.
        """
        return rater_scores(texts(sequences, vocabulary, self.with_prompt))[:, self.rater]


def rater_scores(lines: list[str]) -> np.ndarray:
    """float64 [B, 10], between -1 and 1: for each text and rater the mean vote over its words, divided by 4.

    Raises:
      DataError: the package is missing.
    """
    votes = word_votes()
    silent = np.zeros(RATERS)
    scores_BxR = np.zeros((len(lines), RATERS))
    for number, line in enumerate(lines):
        words = _WORD.findall(line.lower())
        if words:
            scores_BxR[number] = np.mean([votes.get(word, silent) for word in words], axis=0) / LARGEST_VOTE
    return scores_BxR


@functools.cache
def word_votes() -> dict[str, np.ndarray]:
    """Word -> float64 [10], the votes of its raters, -4 ... 4.

    Raises:
      DataError: the package is missing.
    """
    votes = {}
    for line in (VADER.folder() / _FILE).read_text("utf-8").split("\n"):
        if line.strip():
            word, _, _, raw = line.strip().split("\t")
            votes[word] = np.array(ast.literal_eval(raw), np.float64)
    return votes


@functools.cache
def _analyser() -> Any:
    VADER.folder()
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@functools.cache
def _lexicon_sha256() -> str:
    return hashlib.sha256((VADER.folder() / _FILE).read_bytes()).hexdigest()
