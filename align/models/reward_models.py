"""Trained reward models at work: one, or an ensemble whose members differ in seed."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from align.losses import reward as reward_losses
from align.models import saving
from align.models.parents import ParentConfig, find
from align.models.policy import Policy
from align.models.scalar_head import sequence_scalars
from align.sequences import Sequences
from align.stage_config import TrainingConfig
from scaling.errors import ConfigError, DataError
from scaling.models.config import TransformerConfig


@dataclasses.dataclass(frozen=True)
class RewardModelsConfig:
    """A proxy reward.

    Attributes:
      members: runs of `align.reward`; several are an ensemble.
      combine: "mean", "worst_case" (the least of the members, WCO) or "uncertainty_weighted" (mean minus `uncertainty_weight` times their population variance,
        UWO), after Coste et al. 2024.
      uncertainty_weight: of the variance.
    """

    members: tuple[str, ...] = ()
    combine: Literal["mean", "worst_case", "uncertainty_weighted"] = "mean"
    uncertainty_weight: float = 0.1

    def __post_init__(self):
        if self.uncertainty_weight < 0:
            raise ConfigError(
                f"RewardModelsConfig.uncertainty_weight is {self.uncertainty_weight!r}", "give 0 or a positive number"
            )


@dataclasses.dataclass(frozen=True)
class _Member:
    """One reward model on the mesh."""

    policy: Policy
    parameters: Any
    head: Any


class RewardModels:
    """Scores completions."""

    def __init__(self, config: RewardModelsConfig, training: TrainingConfig, vocabulary_sha256: str):
        """Reads the members.

        Args:
          config: which.
          training: of the stage that asks, for the mesh and the compute dtype.
          vocabulary_sha256: of the policy whose completions will be scored.

        Raises:
          DataError: a member reads another vocabulary than the policy.
          CheckpointError: a member is missing, not finished, or no reward model.
        """
        self._config = config
        self._members = [_member(path, training, vocabulary_sha256) for path in config.members]
        self._programs = [
            member.policy.compiled(functools.partial(sequence_scalars, member.policy.model)) for member in self._members
        ]

    def place(self, sequences: Sequences) -> Sequences:
        """Puts rows on the mesh."""
        return jax.device_put(sequences, self._members[0].policy.rows)

    def member_scores(self, sequences: Sequences) -> jax.Array:
        """Each member's normalised reward, float32 [M, B]; `sequences` lie on the mesh."""
        scores = [
            program(member.parameters, member.head, sequences)
            for program, member in zip(self._programs, self._members, strict=True)
        ]
        return jnp.stack(scores)

    def scores(self, sequences: Sequences) -> jax.Array:
        """The combined reward, float32 [B]."""
        return self.combined(self.member_scores(sequences))

    def combined(self, scores_MxB: jax.Array) -> jax.Array:
        """One reward of the members', float32 [B]."""
        if self._config.combine == "uncertainty_weighted":
            return reward_losses.uncertainty_weighted(scores_MxB, self._config.uncertainty_weight)
        return reward_losses.ENSEMBLES[self._config.combine](scores_MxB)


def _member(path: str, training: TrainingConfig, vocabulary_sha256: str) -> _Member:
    parent = find(ParentConfig(path))
    theirs = parent.vocabulary().sha256
    if theirs != vocabulary_sha256:
        raise DataError(
            f"the reward model {path} reads another vocabulary ({theirs[:12]}) than the policy ({vocabulary_sha256[:12]})",
            "train a reward model on data of the policy's vocabulary",
        )
    head, normaliser = saving.load_head(parent.path)
    policy = Policy.of(parent, training, training.batch_size)
    # The normalisation is linear, so it is part of the head.
    gain, offset = normaliser["gain"], normaliser["offset"]
    fixed = {"kernel": head["kernel"] * np.float32(gain), "bias": np.float32(head["bias"] * gain + offset)}
    return _Member(policy, policy.place(parent.parameters()), jax.device_put(fixed, policy.replicated))


def architectures(config: RewardModelsConfig) -> list[TransformerConfig]:
    """Of the members."""
    return [find(ParentConfig(path)).config for path in config.members]


def identities(config: RewardModelsConfig) -> list[str]:
    """Run ids of the members, for the identity of a stage."""
    return [find(ParentConfig(path)).identity for path in config.members]
