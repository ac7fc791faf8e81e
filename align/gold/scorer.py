"""A reward model that is trained no further, as a gold reward (Gao et al. 2023: a large one labels what smaller proxies learn from)."""

import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Literal

import jax
import numpy as np

from align.data.batches import covering
from align.models.parents import ParentConfig, find
from align.sequences import Sequences
from scaling.data.vocabularies import Vocabulary
from scaling.errors import ConfigError, DataError

if TYPE_CHECKING:
    from align.models.reward_models import RewardModels


@dataclasses.dataclass(frozen=True)
class FrozenScorer:
    """The normalised reward of a finished reward model. It is read once a process.

    Attributes:
      path: a run of `align.reward`, or ROOT/NAME of one.
      batch_size: completions that are scored at a time, on all devices.
    """

    path: str
    batch_size: int = 64
    kind: Literal["frozen_scorer"] = "frozen_scorer"

    def __post_init__(self):
        if self.batch_size < 1:
            raise ConfigError(f"FrozenScorer.batch_size is {self.batch_size!r}", "give a positive number")

    @property
    def name(self) -> str:
        """See `GoldReward`."""
        return f"reward model {self.identity[:8]}"

    @property
    def identity(self) -> str:
        """See `GoldReward`: the run id of the reward model."""
        return find(ParentConfig(self.path)).identity

    def score(self, sequences: Sequences, vocabulary: Vocabulary) -> np.ndarray:
        """See `GoldReward`.

        Raises:
          DataError: the sequences are in another vocabulary, or a score is not finite.
          CheckpointError: the path holds no finished reward model.
        """
        models = _loaded(os.path.abspath(self.path), self.batch_size, vocabulary.sha256)
        host = Sequences(*map(np.asarray, sequences))
        parts = []
        for indices, weights in covering(len(host.lengths), self.batch_size):
            scores_B = jax.device_get(models.scores(models.place(Sequences(*(array[indices] for array in host)))))
            parts.append(scores_B[weights > 0])
        scores_B = np.concatenate(parts).astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(scores_B))
        if len(bad):
            raise DataError(
                f"the reward model {self.path} gave {len(bad)} scores that are not finite (rows {bad[:3].tolist()})",
                "check the reward model's checkpoint",
            )
        return scores_B


@functools.lru_cache(maxsize=4)
def _loaded(path: str, batch_size: int, vocabulary_sha256: str) -> "RewardModels":
    # Imported here, so that a Gin file may name this reward where nothing is scored.
    from align.models.reward_models import RewardModels, RewardModelsConfig
    from align.stage_config import TrainingConfig

    # Models and constants go to the devices once, wherever in a training step the first score is asked for.
    with jax.transfer_guard("allow"):
        return RewardModels(RewardModelsConfig((path,)), TrainingConfig(batch_size=batch_size), vocabulary_sha256)
