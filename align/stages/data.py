"""How stages open their examples."""

from align.data.rows import Examples
from align.data.store import ExampleStore
from align.models.parents import Parent
from align.models.shared_prompts import Room
from align.stage_config import ExamplesConfig
from scaling.errors import ConfigError


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
    store = ExampleStore.open(config.store)
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
