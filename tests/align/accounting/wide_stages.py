"""Stages over a model of random weights that is wide enough for its products to outweigh everything else, and what XLA counts as they run."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from align.data import store_writer
from align.data.examples import TokenExample
from align.models.parents import ParentConfig
from align.models.policy import Policy, flat
from align.stage_config import ExamplesConfig, TrainingConfig
from scaling.data.manifested import VOCABULARY
from scaling.data.vocabularies import ByteVocabulary
from scaling.foreign import checkpointed
from scaling.foreign.weights import Weights
from scaling.models.config import TransformerConfig
from scaling.models.transformer import Transformer, init_parameters
from tests.scaling.models.small_models import QUICK_COMPILE

PROMPT, COMPLETION, BATCH = 24, 40, 4
CONFIG = TransformerConfig(
    "wide", width=128, depth=2, heads=2, kv_heads=1, head_dim=64, mlp_dim=256, vocab_size=512, max_length=256
)


def training(**fields) -> TrainingConfig:
    """One step of four."""
    return TrainingConfig(**(dict(batch_size=BATCH, steps=1, schedule="constant") | fields))


def parent(root: pathlib.Path) -> ParentConfig:
    """The model, as an imported one."""
    (root / "model").mkdir()
    parameters = jax.jit(init_parameters, static_argnums=0)(Transformer(CONFIG), jax.random.key(0))
    source = {"files": [{"sha256": "random weights"}]}
    checkpointed.save(root / "model", Weights(CONFIG, flat(CONFIG, parameters)), source)
    ByteVocabulary().save(root / VOCABULARY)
    return ParentConfig(str(root / "model"), vocabulary=str(root))


def examples(root: pathlib.Path, completions: int) -> ExamplesConfig:
    """Random examples that fill their rows."""
    random, vocabulary = np.random.default_rng(0), ByteVocabulary()

    def made(number: int) -> TokenExample:
        prompt = random.integers(3, vocabulary.size, PROMPT).astype(np.int32)
        sides = random.integers(3, vocabulary.size, (completions, COMPLETION)).astype(np.int32)
        sides[:, -1] = vocabulary.eos_id
        scores = tuple(map(float, range(completions, 0, -1)))
        return TokenExample(f"random {number}", prompt, tuple(sides), scores, 1.0 if completions == 2 else np.nan)

    path = root / f"examples {completions}"
    with store_writer.writing(path, vocabulary, completions) as writer:
        writer.write_split("train", (made(number) for number in range(2 * BATCH)))
        writer.write_split("validation", (made(number) for number in range(BATCH)))
        writer.finish({})
    return ExamplesConfig(str(path), prompt_length=PROMPT, completion_length=COMPLETION)


class Counted:
    """FLOPs of the programs that ran."""

    def __init__(self):
        self.flops = 0.0

    def taken(self) -> float:
        """Since the last call."""
        flops, self.flops = self.flops, 0.0
        return flops


@contextlib.contextmanager
def counted_by_xla(monkeypatch) -> Iterator[Counted]:
    """Whatever a policy compiles within is counted each time it runs: XLA's own count of the optimised program, loops once."""
    count, compiled = Counted(), Policy.compiled

    def counting(self, function, **options):
        jitted, programs = compiled(self, function, compiler_options=QUICK_COMPILE, **options), {}

        def run(*arguments):
            key = str(jax.tree.map(lambda leaf: (np.shape(leaf), leaf.dtype), arguments))
            if key not in programs:
                programs[key] = jitted.lower(*arguments).compile()
            count.flops += programs[key].cost_analysis().get("flops", 0.0)
            return programs[key](*arguments)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(Policy, "compiled", counting)
        yield count
