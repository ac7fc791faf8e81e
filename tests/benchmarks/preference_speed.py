"""Speed of DPO and of reward modelling as a ratio to TRL in one run: `python -m tests.benchmarks.preference_speed [--trl_python=PATH]`.

A Llama of 4 layers, width 256, 4 heads, FFN 1024, vocabulary 4096, untied, float32; 8 pairs a step, each side 128 tokens of prompt and 128 of completion;
AdamW with the gradient's norm clipped at 1; one thread each. Tokens per second of processor time: of a step of the stages that the verbs run, with the
gathering of its batch and without measurements, and of the loop of TRL's trainers (preference_anchor.py), which needs an interpreter with torch and trl 1.16.
A pair counts as its two rows on both sides, although ours computes a prompt's projections once for both completions (align/models/shared_prompts.py).
Rounds alternate and medians are compared, so that other load falls on both. DPO is measured with a live reference and with cached log-probabilities; both are
held against TRL's live reference, and the cached one, for information, against TRL's own. Compilation is timed with an empty cache and with a filled one.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# isort: off
from tests.benchmarks import one_thread  # before JAX starts

# isort: on
import jax
import numpy as np
from absl import app, flags, logging

from align.data import store_writer
from align.data.examples import TokenExample
from align.models.parents import ParentConfig
from align.models.policy import flat
from align.stage_config import ExamplesConfig, TrainingConfig
from align.stages.preference import PreferenceStage
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStage, RewardStageConfig
from align.training.stage import Stage
from scaling.data.manifested import VOCABULARY
from scaling.data.vocabularies import ByteVocabulary
from scaling.foreign import checkpointed
from scaling.foreign.weights import Weights
from scaling.models.config import TransformerConfig
from scaling.models.transformer import Transformer, init_parameters

_TRL_PYTHON = flags.DEFINE_string(
    "trl_python", "", "An interpreter with torch and trl 1.16; empty measures ours alone."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Alternating rounds.")
_STEPS = flags.DEFINE_integer("steps", 4, "Measured steps per round, side and stage.")

ROOT = pathlib.Path(__file__).parents[2]
SHAPE = dict(width=256, depth=4, heads=4, mlp_dim=1024, vocab_size=4096)
PAIRS, PROMPT, COMPLETION = 8, 128, 128
TOKENS = 2 * PAIRS * (PROMPT + COMPLETION)

# Stage: over which of TRL's, and how much is asked.
COMPARED = {
    "dpo live": ("dpo live", 1.35),
    "dpo cached": ("dpo live", 1.85),
    "reward": ("reward", 1.1),
}
_MOST_COMPILATION = 20.0


def parent_of(root: pathlib.Path) -> ParentConfig:
    """A model with random weights, as an imported one, with a byte vocabulary: which ids the tokens have costs nothing."""
    heads = SHAPE["heads"]
    config = TransformerConfig("benchmark", **SHAPE, kv_heads=heads, head_dim=SHAPE["width"] // heads)
    parameters = jax.jit(init_parameters, static_argnums=0)(Transformer(config), jax.random.key(0))
    (root / "model").mkdir()
    source = {"files": [{"sha256": "random weights"}]}
    checkpointed.save(root / "model", Weights(config, flat(config, parameters)), source)
    ByteVocabulary().save(root / VOCABULARY)
    return ParentConfig(str(root / "model"), vocabulary=str(root))


def examples_of(root: pathlib.Path) -> ExamplesConfig:
    """Random pairs that fill their rows."""
    random, vocabulary = np.random.default_rng(0), ByteVocabulary()

    def made(number: int) -> TokenExample:
        prompt, *sides = random.integers(3, vocabulary.size, (3, COMPLETION)).astype(np.int32)
        for side in sides:
            side[-1] = vocabulary.eos_id
        return TokenExample(f"random {number}", prompt, tuple(sides), (1.0, 0.0), 1.0)

    with store_writer.writing(root / "pairs", vocabulary, 2) as writer:
        writer.write_split("train", (made(number) for number in range(4 * PAIRS)))
        writer.finish({})
    return ExamplesConfig(str(root / "pairs"), validation_split="", prompt_length=PROMPT, completion_length=COMPLETION)


def stages_of(root: pathlib.Path):
    """Makers of the stages that are compared, by name."""
    parent, data = parent_of(root), examples_of(root)
    training = TrainingConfig(batch_size=PAIRS, steps=1000, schedule="constant")

    def preference(reference: str) -> Stage:
        cache = str(root / "reference")
        return PreferenceStage(
            PreferenceStageConfig(parent, data, training=training, reference=reference, reference_cache=cache)
        )

    return {
        "dpo live": lambda: preference("live"),
        "dpo cached": lambda: preference("cached"),
        "reward": lambda: RewardStage(RewardStageConfig(parent, data, training)),
    }


class Running:
    """A stage with its state."""

    def __init__(self, stage: Stage):
        self._stage, self._state, self._step = stage, stage.initial_state(), 0

    def advance(self, steps: int) -> float:
        """Takes so many steps; returns their CPU seconds."""
        started = time.process_time()
        for _ in range(steps):
            self._state, metrics = self._stage.step(self._state, self._step)
            # As the loop does not: it looks at a step only after it has launched the next.
            jax.block_until_ready(metrics)
            self._step += 1
        return time.process_time() - started


def compiled(name: str, make) -> Running:
    """Times the first step with an empty cache of compilations and with a filled one."""
    seconds = {}
    for cache in ("empty", "filled"):
        jax.clear_caches()
        running = Running(make())
        seconds[cache] = running.advance(1)
    verdict = "reached" if seconds["empty"] < _MOST_COMPILATION else "MISSED"
    print(
        f"{name}: the first step takes {seconds['empty']:.1f} CPU-s with an empty compilation cache, {seconds['filled']:.1f} with a filled one | "
        f"under {_MOST_COMPILATION:.0f} asked: {verdict}",
        flush=True,
    )
    return running


def start_anchor() -> subprocess.Popen:
    """TRL in a process of its own."""
    command = [_TRL_PYTHON.value, "-m", "tests.benchmarks.preference_anchor", json.dumps(SHAPE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)


def anchor_rate(process: subprocess.Popen, stage: str) -> float:
    """Tokens per CPU second of TRL's trainer."""
    request = {"stage": stage, "pairs": PAIRS, "prompt": PROMPT, "completion": COMPLETION, "steps": _STEPS.value}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"{_TRL_PYTHON.value} ended with {process.wait()}: has it torch and trl 1.16?")
    return float(answer)


def report(name: str, ours: list[float], theirs: dict[str, list[float]]) -> str:
    """A row."""
    rate = statistics.median(ours)
    line = f"{name}: {rate:,.0f} tokens per CPU-second"
    if not theirs[name]:
        return line
    other, asked = COMPARED[name]
    anchor = statistics.median(theirs[other])
    line += f" | {rate / anchor:.2f} x TRL's {other} ({anchor:,.0f}), at least {asked} asked: {'reached' if rate / anchor >= asked else 'MISSED'}"
    if other != name:
        same = statistics.median(theirs[name])
        line += f" | {rate / same:.2f} x TRL's {name} ({same:,.0f})"
    return line


def main(argv: list[str]) -> None:
    """Prints a row per stage, and says whether the required ratio was reached."""
    del argv
    logging.set_verbosity(logging.WARNING)
    print(f"{jax.devices()[0].device_kind}, {jax.__version__=}, {one_thread.ENVIRONMENT}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        jax.config.update("jax_compilation_cache_dir", str(root / "compilations"))
        running = {name: compiled(name, make) for name, make in stages_of(root).items()}
        anchor = start_anchor() if _TRL_PYTHON.value else None
        ours, theirs = ({name: [] for name in running} for _ in range(2))
        for _ in range(_ROUNDS.value):
            for name, stage in running.items():
                ours[name].append(_STEPS.value * TOKENS / stage.advance(_STEPS.value))
                if anchor:
                    theirs[name].append(anchor_rate(anchor, name))
    for name in running:
        print(report(name, ours[name], theirs), flush=True)
    if anchor:
        anchor.stdin.close()
        anchor.wait()


if __name__ == "__main__":
    app.run(main)
