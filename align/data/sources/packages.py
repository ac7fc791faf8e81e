"""Embedded packages that only stage two reads: where their files lie, without importing them."""

import functools
import pathlib
import re
from collections.abc import Iterator

from scaling.data.corpora import Corpus, TextDocument


def _no_documents(folder: pathlib.Path) -> Iterator[TextDocument]:
    """These packages are no corpora of running text."""
    return iter(())


VADER = Corpus(
    name="vader_lexicon",
    package="vaderSentiment",
    module="vaderSentiment",
    version="3.3.2",
    licence="MIT",
    attribution="C.J. Hutto and E. Gilbert (2014), VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM-14",
    description="7,520 words and emoticons with the valence that ten raters gave each.",
    label="word",
    read=_no_documents,
    megabytes=0.4,
)
PROFANITY = Corpus(
    name="profanity",
    package="better-profanity",
    module="better_profanity",
    version="0.7.0",
    licence="MIT",
    attribution="S. Nguyen, better-profanity",
    description="Words that a training text can do without.",
    label="word",
    read=_no_documents,
    megabytes=0.01,
)


def has_profanity(text: str) -> bool:
    """Whether a text holds a listed word or phrase, as whole words, in any case.

    Raises:
      DataError: the package is missing.
    """
    words, phrases = _listed_profanity()
    lowered = text.lower()
    return not words.isdisjoint(_WORD.findall(lowered)) or phrases.search(lowered) is not None


_WORD = re.compile(r"\w+")


@functools.cache
def _listed_profanity() -> tuple[frozenset[str], re.Pattern[str]]:
    """Plain words, which a set finds fastest, and a pattern of everything else."""
    listed = {
        line.strip().lower() for line in (PROFANITY.folder() / "profanity_wordlist.txt").read_text("utf-8").split("\n")
    } - {""}
    plain = frozenset(entry for entry in listed if _WORD.fullmatch(entry))
    others = "|".join(re.escape(entry) for entry in sorted(listed - plain, key=len, reverse=True))
    return plain, re.compile(rf"(?<!\w)(?:{others})(?!\w)")
