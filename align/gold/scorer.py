"""Any function over sequences as a gold reward, such as a large reward model that is trained no further."""

import dataclasses
from collections.abc import Callable

import numpy as np

from align.sequences import Sequences
from scaling.data.vocabularies import Vocabulary
from scaling.errors import DataError


@dataclasses.dataclass(frozen=True)
class FrozenScorer:
    """A function with a name and an identity.

    Attributes:
      name: a short name.
      identity: stands for everything that the scores depend on, such as the run id of a reward model.
      vocabulary_sha256: of the vocabulary that the function reads.
      scores: from Sequences to floats [B].
    """

    name: str
    identity: str
    vocabulary_sha256: str
    scores: Callable[[Sequences], np.ndarray]

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`.

        Raises:
          DataError: the sequences are in another vocabulary, or a score is not finite.
        """
        if vocabulary.sha256 != self.vocabulary_sha256:
            raise DataError(
                f"the reward {self.name!r} reads the vocabulary {self.vocabulary_sha256[:16]}, not {vocabulary.sha256[:16]}",
                "choose a reward model of the same vocabulary",
            )
        scores_B = np.asarray(self.scores(sequences), np.float64).reshape(len(sequences.lengths))
        bad = np.flatnonzero(~np.isfinite(scores_B))
        if len(bad):
            raise DataError(
                f"the reward {self.name!r} gave {len(bad)} scores that are not finite (rows {bad[:3].tolist()})",
                "check the reward model's checkpoint",
            )
        return scores_B
