"""Sampling speed as a ratio to Hugging Face `generate` in one run: `python -m tests.benchmarks.generation_speed [--torch_python=PATH]`.

A Llama of 4 layers, width 256, 4 heads, FFN 1024, vocabulary 4096, untied, float32; prompts of 128 tokens, 128 new ones, sampled at temperature 1 without
a filter, with both of our log-probabilities; batches of 8 and of 1; one thread each, on one core. Tokens per second of processor time, with prefill and, in
ours, all that `complete` does for a job of four batches, without compilation. The anchor (generation_anchor.py) needs an interpreter with torch and
transformers. Rounds alternate and medians are compared, so that other load falls on both.
"""

import json
import os
import statistics
import subprocess
import sys
import time

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    # Spinning threads would be charged to the anchor.
    "OMP_WAIT_POLICY": "passive",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
# Before JAX starts, which makes as many threads as it may use cores; the anchor inherits both.
os.environ.update(ONE_THREAD)
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from align.generation.completions import complete  # noqa: E402
from align.generation.sampling_config import SamplingConfig  # noqa: E402
from scaling.models.config import TransformerConfig  # noqa: E402
from scaling.models.transformer import Transformer, init_parameters  # noqa: E402

_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python", "", "An interpreter with torch and transformers; empty measures ours alone."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Alternating rounds.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Measured processor time per round, side and batch.")

SHAPE = dict(width=256, depth=4, heads=4, mlp_dim=1024, vocab_size=4096)
PROMPT, NEW_TOKENS = 128, 128
BATCHES = (8, 1)
# Parameters are brought into the loop's form once a job, whatever its number of batches; the anchor's are ready when it starts.
_BATCHES_OF_A_JOB = 4

# Ours at batch 8, over the anchor.
_REQUIRED = 2.8


def our_rate(model: Transformer, parameters, batch_size: int, seconds: float) -> float:
    """New tokens per CPU second of jobs of a few batches each."""
    rows = batch_size * _BATCHES_OF_A_JOB
    prompts = np.random.default_rng(0).integers(3, SHAPE["vocab_size"], (rows, PROMPT)).tolist()
    config = SamplingConfig(max_new_tokens=NEW_TOKENS)

    def job(seed):
        generation = complete(model, parameters, prompts, config, eos_id=None, seed=seed, batch_size=batch_size)
        assert (generation.sequences.completion_lengths == NEW_TOKENS).all()

    job(0)
    jobs, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        jobs += 1
        job(jobs)
    return jobs * rows * NEW_TOKENS / (time.process_time() - started)


def anchor_rate(process: subprocess.Popen, batch_size: int, seconds: float) -> float:
    """The same of the library."""
    request = {"batch_size": batch_size, "prompt": PROMPT, "new_tokens": NEW_TOKENS, "seconds": seconds}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def start_anchor() -> subprocess.Popen:
    """The library in a process of its own."""
    script = __file__.replace("generation_speed", "generation_anchor")
    return subprocess.Popen(
        [_TORCH_PYTHON.value, script, json.dumps(SHAPE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def main(argv: list[str]) -> None:
    """Prints a row per batch size, and says whether the required ratio was reached."""
    del argv
    heads = SHAPE["heads"]
    model = Transformer(TransformerConfig("benchmark", **SHAPE, kv_heads=heads, head_dim=SHAPE["width"] // heads))
    parameters = jax.jit(init_parameters, static_argnums=0)(model, jax.random.key(0))
    anchor = start_anchor() if _TORCH_PYTHON.value else None
    for batch_size in BATCHES:
        ours, theirs = [], []
        for _ in range(_ROUNDS.value):
            ours.append(our_rate(model, parameters, batch_size, _SECONDS.value))
            if anchor:
                theirs.append(anchor_rate(anchor, batch_size, _SECONDS.value))
        rate = statistics.median(ours)
        line = f"batch {batch_size}: {rate:,.0f} new tokens per CPU-second"
        if anchor:
            line += f" | {rate / statistics.median(theirs):.2f} x Hugging Face ({statistics.median(theirs):,.0f})"
            if batch_size == BATCHES[0]:
                reached = rate / statistics.median(theirs) >= _REQUIRED
                line += f" | at least {_REQUIRED} asked: {'reached' if reached else 'MISSED'}"
        print(line, flush=True)
    if anchor:
        anchor.stdin.close()
        if anchor.wait():
            sys.exit(f"the anchor ended with {anchor.returncode}")


if __name__ == "__main__":
    app.run(main)
