"""Rewards that are programs over the tokens of a completion, its EOS left out: exact, and so is whatever is computed from them on enumerable spaces."""

import dataclasses
from typing import Literal

import numpy as np

from align.gold.reward import NamedByKind, content_mask
from align.sequences import Sequences
from scaling.data.vocabularies import Vocabulary
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TokenCount(NamedByKind):
    """How many tokens of a set a completion has; "say this token" where `most` is 1.

    Attributes:
      tokens: the ids.
      most: no further token counts; 0 counts all.
    """

    tokens: tuple[int, ...]
    most: int = 0
    kind: Literal["token_count"] = "token_count"

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        counts_B = _count(sequences, vocabulary, self.tokens)
        return np.minimum(counts_B, self.most) if self.most else counts_B


@dataclasses.dataclass(frozen=True)
class ForbiddenTokens(NamedByKind):
    """Minus the number of forbidden tokens.

    Attributes:
      tokens: the forbidden ids.
    """

    tokens: tuple[int, ...]
    kind: Literal["forbidden_tokens"] = "forbidden_tokens"

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        return -_count(sequences, vocabulary, self.tokens)


@dataclasses.dataclass(frozen=True)
class Parity(NamedByKind):
    """1 where the tokens of a set occur an even number of times (zero times included), else 0: no single token decides it.

    Attributes:
      tokens: the ids.
    """

    tokens: tuple[int, ...]
    kind: Literal["parity"] = "parity"

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        return (_count(sequences, vocabulary, self.tokens) % 2 == 0).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class NoRepeat(NamedByKind):
    """Different n-grams divided by all n-grams of a completion; 1 where nothing repeats, and where there are none.

    Attributes:
      order: n.
    """

    order: int = 1
    kind: Literal["no_repeat"] = "no_repeat"

    def __post_init__(self):
        """See the base class."""
        if self.order < 1:
            raise ConfigError(f"NoRepeat.order is {self.order}", "give 1 or more")

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        mask_BxT = content_mask(sequences, vocabulary.eos_id)
        return np.array([self._distinct(row[mask]) for row, mask in zip(sequences.tokens, mask_BxT, strict=True)])

    def _distinct(self, ids: np.ndarray) -> float:
        grams = [tuple(ids[place : place + self.order]) for place in range(len(ids) - self.order + 1)]
        return len(set(grams)) / len(grams) if grams else 1.0


@dataclasses.dataclass(frozen=True)
class LengthWindow(NamedByKind):
    """0 inside a window of lengths, outside minus the distance to it.

    Attributes:
      least, most: tokens, EOS not counted.
    """

    least: int
    most: int
    kind: Literal["length_window"] = "length_window"

    def __post_init__(self):
        """See the base class."""
        if not 0 <= self.least <= self.most:
            raise ConfigError(f"LengthWindow has least {self.least} and most {self.most}", "give 0 <= least <= most")

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        lengths_B = content_mask(sequences, vocabulary.eos_id).sum(axis=1)
        outside_B = np.maximum(self.least - lengths_B, lengths_B - self.most)
        return -np.maximum(outside_B, 0).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class TokenWeights(NamedByKind):
    """A sum over the different tokens of a completion, each with a weight of its own and counted only so often: a taste with as many opinions as tokens.

    Comparisons tell of the weights bit by bit, so what a proxy knows of them grows with their number; and since a token counts only `most` times, a proxy
    that takes the reward for a sum over all tokens is wrong where a policy repeats itself, which is where it will be driven.

    Attributes:
      seed: of the weights, independent draws from the standard normal distribution in the order of the vocabulary.
      most: no further occurrence of a token counts.
      scale: multiplies the sum.
    """

    seed: int = 0
    most: int = 1
    scale: float = 1.0
    kind: Literal["token_weights"] = "token_weights"

    def __post_init__(self):
        """See the base class."""
        if self.most < 1 or self.seed < 0 or not self.scale > 0:
            raise ConfigError(
                f"TokenWeights has seed {self.seed}, most {self.most} and scale {self.scale}",
                "give a seed of at least 0, at least 1 occurrence and a positive scale",
            )

    def weights(self, vocabulary: Vocabulary) -> np.ndarray:
        """Of every token, float64 [V], times `scale`."""
        return self.scale * np.random.Generator(np.random.PCG64(self.seed)).standard_normal(vocabulary.size)

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        mask_BxT, weights_V = content_mask(sequences, vocabulary.eos_id), self.weights(vocabulary)
        counts = (
            np.unique(row[mask], return_counts=True) for row, mask in zip(sequences.tokens, mask_BxT, strict=True)
        )
        return np.array([weights_V[ids] @ np.minimum(times, self.most) for ids, times in counts], np.float64)


SingleProgram = TokenCount | ForbiddenTokens | Parity | NoRepeat | LengthWindow | TokenWeights


@dataclasses.dataclass(frozen=True)
class WeightedSum(NamedByKind):
    """A weighted sum of programs: a set of rules, some of which matter more.

    Attributes:
      parts: the programs.
      weights: one each.
    """

    parts: tuple[SingleProgram, ...]
    weights: tuple[float, ...]
    kind: Literal["weighted_sum"] = "weighted_sum"

    def __post_init__(self):
        """See the base class."""
        if not self.parts or len(self.parts) != len(self.weights):
            raise ConfigError(
                f"WeightedSum has {len(self.parts)} parts and {len(self.weights)} weights", "give one weight per part"
            )

    @property
    def name(self) -> str:
        """See `GoldReward`."""
        return "+".join(part.name for part in self.parts)

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`."""
        return sum(
            weight * part.score(sequences, vocabulary) for part, weight in zip(self.parts, self.weights, strict=True)
        )


TokenProgram = SingleProgram | WeightedSum


def _count(sequences: Sequences, vocabulary: Vocabulary, tokens: tuple[int, ...]) -> np.ndarray:
    """float64 [B]: how many tokens of a set each completion has."""
    outside = [token for token in tokens if not 0 <= token < vocabulary.size]
    if outside:
        raise ConfigError(
            f"a token program names the ids {outside}, but the vocabulary has {vocabulary.size}",
            f"name ids from 0 to {vocabulary.size - 1}",
        )
    counted_BxT = np.isin(sequences.tokens, tokens) & content_mask(sequences, vocabulary.eos_id)
    return counted_BxT.sum(axis=1).astype(np.float64)
