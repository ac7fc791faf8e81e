"""How stages open their examples."""

import numpy as np
from scipy import special

from align.data.rows import Examples
from align.data.store import ExampleStore
from align.models.parents import Parent
from align.models.shared_prompts import Room
from align.stage_config import ExamplesConfig
from scaling.errors import ConfigError, DataError


def open_examples(config: ExamplesConfig, parent: Parent, *kinds: str) -> ExampleStore:
    """The examples of a stage, checked against its parent.

    Args:
      config: where they lie.
      parent: the model that will read them.
      kinds: the kinds of store that the stage can read.

    Raises:
      DataError: they are missing, altered, of another kind, or tokenised for another model.
      ConfigError: the rows exceed the model's context.
    """
    store = ExampleStore.open(config.store, verify="once")
    store.require_kind(*kinds)
    store.require_vocabulary(parent.vocabulary().sha256, str(parent.path))
    if parent.config.positions == "learned" and config.length > parent.config.max_length:
        raise ConfigError(
            f"ExamplesConfig.prompt_length + completion_length is {config.length}, and the model has {parent.config.max_length} positions",
            "shorten the rows",
        )
    return store


def training_examples(examples: Examples, config: ExamplesConfig) -> int:
    """How many examples of the training split are used."""
    return min(len(examples), config.max_examples) if config.max_examples else len(examples)


def first_column(*splits: Examples) -> int:
    """The first column at which a completion of these splits can begin, so that the head need not be computed before it."""
    return min(int(examples.prompt_lengths.min()) for examples in splits)


def room(*splits: Examples) -> Room:
    """What the longest prompt and the longest completion of these splits need."""
    prompt = max(int(examples.prompt_lengths.max()) for examples in splits)
    return Room(prompt, max(int(examples.completion_lengths.max()) for examples in splits))


def soft_labels(examples: Examples, indices: np.ndarray, temperature: float) -> np.ndarray | None:
    """float32 [B]: how probable Bradley-Terry makes it that the first completion is preferred to the second; None at temperature 0, where labels are certain.

    Args:
      examples: with gold scores.
      indices: int [B].
      temperature: of the gold scores.

    Raises:
      DataError: a gold score is not known.
    """
    if not temperature:
        return None
    scores_Bx2 = np.asarray(examples.scores[indices], np.float64)[:, :2]
    unknown = np.flatnonzero(np.isnan(scores_Bx2).any(axis=1))
    if len(unknown):
        raise DataError(
            f"{examples.source}: {len(unknown)} of {len(indices)} pairs have no gold scores, such as {examples.names[indices[unknown[0]]]}",
            "set PreferenceStageConfig.soft_labels to 0, or give pairs their scores",
        )
    return special.expit((scores_Bx2[:, 0] - scores_Bx2[:, 1]) / temperature).astype(np.float32)
