"""Training speed as a ratio to PyTorch in one run: `make benchmarks`, or `python -m tests.benchmarks.training_speed [--torch_python=PATH]`.

Two models, float32, AdamW with clipping, sequence 256, one process on all cores:

  A: width 128, depth 4, vocabulary 1024, batch 16   (about 0.9M parameters)
  B: width 384, depth 6, vocabulary 4096, batch 8    (about 12M parameters)

Ours is the step of `scaling.training.step`, batches gathered as in a run. The anchor is a GPT of the same shape in eager PyTorch with fused attention
(tests/benchmarks/torch_anchor.py), run by another interpreter because PyTorch is not a dependency: give it by --torch_python. Rounds alternate, and medians are
reported, so that other load on the machine falls on both. MFU is by PaLM's convention against the matmul peak measured in the same process.
"""

import json
import statistics
import subprocess
import sys
import time

import jax
import numpy as np
from absl import app, flags

from scaling.accounting import flops, peak
from scaling.accounting.parameters import count_parameters
from scaling.data.batches import from_rows
from scaling.models.config import TransformerConfig
from scaling.optim.config import OptimizerConfig
from scaling.run_config import ExecutionConfig
from scaling.training.step import Rates, StepKey, TrainStep, train_step_for

_TORCH_PYTHON = flags.DEFINE_string("torch_python", "", "An interpreter that has PyTorch; empty measures ours alone.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Alternating rounds.")
_SECONDS = flags.DEFINE_float("seconds", 8.0, "Measured time per round and side.")
_DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "Compute types of ours.")

LENGTH = 256
SHAPES = {
    "A": dict(width=128, depth=4, heads=4, vocab_size=1024, batch_size=16),
    "B": dict(width=384, depth=6, heads=6, vocab_size=4096, batch_size=8),
}


def model_config(shape: dict[str, int]) -> TransformerConfig:
    """A GPT: LayerNorm, GELU, learned positions, tied head."""
    width, heads = shape["width"], shape["heads"]
    return TransformerConfig(
        family="benchmark",
        vocab_size=shape["vocab_size"],
        width=width,
        depth=shape["depth"],
        heads=heads,
        kv_heads=heads,
        head_dim=width // heads,
        mlp_dim=4 * width,
        max_length=LENGTH,
        norm="layernorm",
        activation="gelu",
        positions="learned",
        tied=True,
        biases=True,
        initialisation="gpt2",
    )


def our_rate(train_step: TrainStep, seconds: float) -> float:
    """Tokens per second of the compiled step."""
    key = train_step.key
    rows = np.random.default_rng(0).integers(3, key.model.vocab_size, (key.batch_size, key.sequence_length + 1))
    batch = from_rows(rows.astype(np.int32), eos_id=1, isolate_documents=True)
    rates = Rates(np.float32(1e-3), np.float32(0.1))
    state, _ = train_step.step(train_step.init(np.uint32(0)), batch, rates)
    jax.block_until_ready(state)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        state, metrics = train_step.step(state, batch, rates)
        jax.block_until_ready(metrics)
        steps += 1
    return steps * key.batch_size * key.sequence_length / (time.perf_counter() - started)


def anchor_rate(shape: dict[str, int], seconds: float) -> float:
    """Tokens per second of the same model in PyTorch."""
    request = json.dumps(dict(shape, length=LENGTH, seconds=seconds))
    script = __file__.replace("training_speed", "torch_anchor")
    result = subprocess.run([_TORCH_PYTHON.value, script, request], capture_output=True, text=True, check=True)
    return float(result.stdout)


def main(argv: list[str]) -> None:
    """Prints a row per model and compute type."""
    del argv
    print(f"{jax.devices()[0].device_kind}, {jax.__version__=}", file=sys.stderr)
    for name, shape in SHAPES.items():
        model = model_config(shape)
        optimizer = OptimizerConfig(weight_decay=0.0)
        ours, anchor = {dtype: [] for dtype in _DTYPES.value}, []
        for _ in range(_ROUNDS.value):
            for dtype, rates in ours.items():
                key = StepKey(model, optimizer, ExecutionConfig(), dtype, shape["batch_size"], LENGTH, True)
                rates.append(our_rate(train_step_for(key), _SECONDS.value))
            if _TORCH_PYTHON.value:
                anchor.append(anchor_rate(shape, _SECONDS.value))
        for dtype, rates in ours.items():
            rate, top = statistics.median(rates), peak.peak_flops(dtype)
            mfu = flops.model_flops_utilisation(model, LENGTH, rate, top)
            ratio = (
                f" | {rate / statistics.median(anchor):.2f} x PyTorch ({statistics.median(anchor):,.0f})"
                if anchor
                else ""
            )
            print(
                f"{name} {count_parameters(model).total / 1e6:.2f}M {dtype}: {rate:,.0f} tokens/s | MFU {mfu:.1%} of "
                f"{top / 1e9:.0f} GFLOP/s ({flops.MFU_CONVENTION_TEXT}){ratio}"
            )


if __name__ == "__main__":
    app.run(main)
