"""Stages of seconds, for tests: a stage-one run of width 16 on bytes, and stores of examples made from its text."""

import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from align.data import store_writer
from align.data.examples import TokenExample
from align.models.parents import ParentConfig, find
from align.stage_config import ExamplesConfig, TrainingConfig
from align.stages import running
from scaling.data.vocabularies import ByteVocabulary
from scaling.training.interruption import Interruption
from tests.scaling import byte_stores
from tests.scaling.training import small_runs

VOCABULARY = ByteVocabulary()
PROMPT, COMPLETION = 8, 8


def parent(root: pathlib.Path) -> ParentConfig:
    """A trained stage-one run (40 steps)."""
    store = byte_stores.write_byte_store(root / "store", train_characters=40_000)
    directory = small_runs.train(root / "runs", small_runs.config(store, tokens=20 * 512))[0]
    return ParentConfig(str(directory.path))


def examples(path: pathlib.Path, completions: int, count: int = 64, seed: int = 0) -> str:
    """Prompts of lower-case letters with completions of which the first has more letters "a" than the next; gold scores say how many."""
    generator = np.random.default_rng(seed)

    def make(number: int) -> TokenExample:
        prompt = VOCABULARY.encode("".join(generator.choice(list("bcdefg"), generator.integers(3, PROMPT + 1))))
        amounts = list(range(completions, 0, -1))
        texts = ["a" * amount + "".join(generator.choice(list("xyz"), 6 - amount)) for amount in amounts]
        ids = tuple(np.append(VOCABULARY.encode(text), VOCABULARY.eos_id) for text in texts)
        margin = 1.0 if completions == 2 else np.nan
        return TokenExample(f"made {number}", prompt, ids, tuple(map(float, amounts)), margin)

    with store_writer.writing(path, VOCABULARY, completions) as writer:
        writer.write_split("train", (make(number) for number in range(count)))
        writer.write_split("validation", (make(number) for number in range(count, count + 16)))
        writer.finish({})
    return str(path)


def data(store: str, **fields) -> ExamplesConfig:
    """Rows of 16 tokens."""
    return ExamplesConfig(store, prompt_length=PROMPT, completion_length=COMPLETION, **fields)


def training(**fields) -> TrainingConfig:
    """Ten steps of eight, unless `fields` say otherwise."""
    return TrainingConfig(**(dict(batch_size=8, steps=10, learning_rate=3e-3, schedule="constant") | fields))


def run(kind: str, config, root: pathlib.Path):
    """Takes a stage to its record, in this process."""
    with Interruption() as interruption:
        return running.run(kind, config, root, interruption)


def final_parameters(directory) -> dict[str, np.ndarray]:
    """What a finished stage leaves for others, by path."""
    return parameters_of(ParentConfig(str(directory.path)))


def parameters_of(parent: ParentConfig) -> dict[str, np.ndarray]:
    """A model's parameters, by path."""
    return find(parent).parameters()


def final_state(directory) -> dict[str, np.ndarray]:
    """Everything that the last checkpoint holds, by path: parameters, moments, controller, step."""
    with ocp.CheckpointManager(directory.checkpoints, item_handlers=ocp.StandardCheckpointHandler()) as manager:
        state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def largest_difference(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Over all arrays of the same names."""
    assert actual.keys() == expected.keys()
    return max(float(np.max(np.abs(actual[name] - value))) for name, value in expected.items())
