"""A judge trained on human ratings: ridge regression from features of a text to its mean rating, frozen to a file."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.sparse.linalg import lsmr

from align.data.sources.packages import VADER
from align.data.sources.ratings import RATINGS, SPLITS, Domain, rated_texts
from align.gold.judge_features import FEATURES_VERSION, HASH_BITS, features, inverse_document_frequency
from align.gold.reward import texts
from align.sequences import Sequences
from scaling.data.manifested import sha256_of_file
from scaling.data.vocabularies import Vocabulary
from scaling.errors import ConfigError, DataError, OutputError

# Far more than it takes: the iteration stops by its tolerances.
_MOST_ITERATIONS = 2_000
_TOLERANCE = 1e-8


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """What a judge is trained on.

    Attributes:
      output: the file that it is frozen to, ending in .npz.
      domains: the rated texts; their split "train" is fitted, "validation" chooses the penalty, "test" is measured once.
      penalties: ridge penalties to choose from.
    """

    output: str
    domains: tuple[Domain, ...] = ("movies",)
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)

    def __post_init__(self):
        """See the base class."""
        if not self.output.endswith(".npz"):
            raise ConfigError(f"JudgeConfig.output is {self.output!r}", "give a file name that ends in .npz")
        if not self.domains or not self.penalties or min(self.penalties) <= 0:
            raise ConfigError(
                f"JudgeConfig has the domains {self.domains} and penalties {self.penalties}",
                "name domains, and penalties above 0",
            )


@dataclasses.dataclass(frozen=True)
class RatingJudge:
    """The frozen judge as a gold reward: the mean rating that people would give a completion, predicted, between -4 and 4.

    Attributes:
      path: the file.
      with_prompt: judge prompt and completion together.
    """

    path: str
    with_prompt: bool = False
    kind: Literal["rating_judge"] = "rating_judge"

    @property
    def name(self) -> str:
        """See `GoldReward`."""
        return self.kind

    @property
    def identity(self) -> str:
        """See `GoldReward`: the file enters by its content."""
        content = f"{self.kind}/{sha256_of_file(pathlib.Path(self.path))}/{self.with_prompt}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`.

        Raises:
          DataError: the file is missing, altered, or of another version.
        """
        return self.score_texts(texts(sequences, vocabulary, self.with_prompt))

    def score_texts(self, lines: Sequence[str]) -> np.ndarray:
        """The same of texts, float64 [B]."""
        weights_F, frequencies_H, intercept = self._weights
        return np.clip(features(lines, frequencies_H) @ weights_F + intercept, -4.0, 4.0)

    @property
    def description(self) -> dict[str, Any]:
        """What it was trained on, and its correlation and sign accuracy with people on each split."""
        return self._content[1]

    @property
    def _weights(self) -> tuple[np.ndarray, np.ndarray, float]:
        arrays, description = self._content
        return arrays["weights"], arrays["frequencies"], description["intercept"]

    @functools.cached_property
    def _content(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return _read(pathlib.Path(self.path))


def train_judge(config: JudgeConfig) -> RatingJudge:
    """Trains a judge and freezes it to its file. Equal configurations give equal weights.

    Raises:
      DataError: a package is missing.
      OutputError: the file is there already, or cannot be written.
    """
    path = pathlib.Path(config.output)
    if path.exists():
        raise OutputError(f"{path} exists already", "delete it or choose another JudgeConfig.output")
    data = {split: _rated(config.domains, split) for split in SPLITS}
    train_lines, train_ratings_N = data["train"]
    frequencies_H = inverse_document_frequency(train_lines)
    matrices = {split: features(lines, frequencies_H) for split, (lines, _) in data.items()}
    intercept = float(train_ratings_N.mean())
    fits = {
        penalty: lsmr(
            matrices["train"],
            train_ratings_N - intercept,
            np.sqrt(penalty),
            _TOLERANCE,
            _TOLERANCE,
            maxiter=_MOST_ITERATIONS,
        )[0]
        for penalty in config.penalties
    }
    error = {
        penalty: np.mean((matrices["validation"] @ weights + intercept - data["validation"][1]) ** 2)
        for penalty, weights in fits.items()
    }
    penalty = min(config.penalties, key=error.get)
    # Rounded here, so that what is measured is what is frozen.
    weights_F = fits[penalty].astype(np.float32)
    quality = {
        split: _quality(np.clip(matrices[split] @ weights_F.astype(np.float64) + intercept, -4, 4), ratings)
        for split, (_, ratings) in data.items()
    }
    description = {
        "features_version": FEATURES_VERSION,
        "hash_bits": HASH_BITS,
        "lexicon": VADER.version,
        "ratings": RATINGS.source_manifest(),
        "domains": list(config.domains),
        "penalty": penalty,
        "intercept": intercept,
        "quality": quality,
    }
    _write(path, {"weights": weights_F, "frequencies": frequencies_H.astype(np.float32)}, description)
    return RatingJudge(config.output)


def _rated(domains: Sequence[Domain], split: str) -> tuple[list[str], np.ndarray]:
    rated = [text for domain in domains for text in rated_texts(domain) if text.split == split]
    return [text.text for text in rated], np.array([text.gold for text in rated])


def _quality(predicted_N: np.ndarray, ratings_N: np.ndarray) -> dict[str, float]:
    """Pearson's correlation, and how often the signs agree where people are not neutral on average."""
    decided = ratings_N != 0
    return {
        "texts": len(ratings_N),
        "correlation": float(np.corrcoef(predicted_N, ratings_N)[0, 1]),
        "sign_accuracy": float(np.mean(np.sign(predicted_N[decided]) == np.sign(ratings_N[decided]))),
    }


def _write(path: pathlib.Path, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not compressed: the bytes, and so the identity, depend on nothing but the content.
        np.savez(partial, **arrays, description=np.array(json.dumps(description, sort_keys=True)))
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror})", "choose a file that can be written") from error


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    remedy = "train it with align.train_judge, or correct the path"
    if not path.is_file():
        raise DataError(f"there is no judge at {path}", remedy)
    try:
        with np.load(path) as file:
            description = json.loads(str(file["description"]))
            arrays = {name: file[name].astype(np.float64) for name in ("weights", "frequencies")}
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise DataError(f"{path} is not the file of a judge ({error})", remedy) from error
    found = (description["features_version"], description["hash_bits"], description["lexicon"])
    if found != (FEATURES_VERSION, HASH_BITS, VADER.version):
        raise DataError(f"{path} has features of another version {found}", "train it again with align.train_judge")
    return arrays, description
