"""Speed of runs side by side as a ratio to one after the other: `python -m tests.benchmarks.population_speed [--members=8] [--widths=32,96]`.

Models of the demo's ladder (LLaMA-like, vocabulary 512, sequence 128, batch 4, float32, AdamW), one process. Three ways to train the same runs, each
through the feed and with the loop's habit of looking at a step after the next one is launched:

  alone   one run after the other, which share a compiled step (what `scaling.train --population=0` does)
  map     a population in a compiled loop over its members
  vmap    a population in batched products

Tokens a second on the clock, and for each second of processor time, which other load on the machine disturbs less. Rounds alternate, and medians are
reported. Give the process one core or two by `taskset`; with one, set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false, as the local engine does.
"""

import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

from scaling.accounting.parameters import count_parameters
from scaling.data.config import DataConfig
from scaling.data.store import Split, TokenStore
from scaling.models import ladder
from scaling.optim.config import OptimizerConfig
from scaling.run_config import ExecutionConfig
from scaling.training.feed import make_feed
from scaling.training.population.feed import make_population_feed
from scaling.training.population.programs import population_step_for
from scaling.training.step import Rates, StepKey, train_step_for
from tests.benchmarks.stopwatch import lap
from tests.scaling.byte_stores import write_byte_store

_MEMBERS = flags.DEFINE_integer("members", 8, "Runs side by side.")
_WIDTHS = flags.DEFINE_list("widths", ["32", "96"], "Widths of the ladder.")
_WAYS = flags.DEFINE_list("ways", ["alone", "map", "vmap"], "What to measure.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Alternating rounds.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Measured time per round and way.")

VOCABULARY, LENGTH, BATCH = 512, 128, 4
_FOREVER = 10**6
_RATES = Rates(1e-3, 0.1)


def step_key(width: int) -> StepKey:
    """What the compiled step of a rung depends on."""
    model = ladder.llama(width=width, vocab_size=VOCABULARY, max_length=LENGTH, tied=True)
    return StepKey(model, OptimizerConfig(weight_decay=0.0), ExecutionConfig(), "float32", BATCH, LENGTH, True)


def alone(key: StepKey, data: DataConfig, split: Split, members: int) -> Callable[[int], None]:
    """Takes a number of steps of one run."""
    train_step = train_step_for(key)
    feed = make_feed(train_step, data, split, 0, 0, _FOREVER)
    state, done = train_step.init(np.uint32(0)), 0
    rates = Rates(*map(np.float32, _RATES))

    def take(steps: int) -> None:
        nonlocal state, done
        pending = None
        for step in range(done, done + steps * members):
            state, metrics = feed(state, step, rates)
            if pending is not None:
                jax.device_get(pending)
            pending = metrics
        jax.device_get(pending)
        done += steps * members

    return take


def together(key: StepKey, data: DataConfig, split: Split, members: int, form: str) -> Callable[[int], None]:
    """Takes a number of steps of all runs."""
    programs = population_step_for(key, members, form)
    seeds, first_steps = {slot: slot for slot in range(members)}, dict.fromkeys(range(members), 0)
    feed = make_population_feed(programs, data, split, seeds, first_steps, _FOREVER)
    states, done = programs.stacked([programs.member.init(np.uint32(seed)) for seed in range(members)]), 0
    rates = dict.fromkeys(range(members), _RATES)

    def take(steps: int) -> None:
        nonlocal states, done
        pending = None
        for step in range(done, done + steps):
            states, metrics = feed(states, step, rates)
            if pending is not None:
                jax.device_get(pending)
            pending = metrics
        jax.device_get(pending)
        done += steps

    return take


def measured(take: Callable[[int], None], members: int, seconds: float) -> tuple[float, float]:
    """Tokens per second on the clock and of the processor."""
    steps, started = 0, time.perf_counter()
    with lap() as taken:
        while time.perf_counter() - started < seconds:
            take(4)
            steps += 4
    tokens = steps * members * BATCH * LENGTH
    return tokens / taken.wall, tokens / taken.cpu


def compare(width: int, data: DataConfig, split: Split, members: int) -> None:
    """Prints a row for each way at one width."""
    key = step_key(width)
    ways = {
        way: alone(key, data, split, members) if way == "alone" else together(key, data, split, members, way)
        for way in _WAYS.value
    }
    for take in ways.values():
        take(2)
    rates: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(_ROUNDS.value):
        for way, take in ways.items():
            rates[way].append(measured(take, members, _SECONDS.value))
    medians = {way: [statistics.median(values) for values in zip(*found, strict=True)] for way, found in rates.items()}
    base = next(iter(medians.values()))
    for way, (wall, cpu) in medians.items():
        print(
            f"width {width:4} {count_parameters(key.model).total / 1e6:.2f}M, {members} runs, {way:5}: {wall:9,.0f} tokens/s "
            f"({wall / base[0]:.2f}) | {cpu:9,.0f} tokens per CPU-second ({cpu / base[1]:.2f})",
            flush=True,
        )


def main(argv: list[str]) -> None:
    """Prints a row per width and way; in brackets the ratio to the first way."""
    del argv
    device = jax.devices()[0]
    print(f"{device.device_kind} x {jax.device_count()}, {jax.__version__=}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        store = write_byte_store(pathlib.Path(folder) / "speeches")
        data, split = DataConfig(store=store, sequence_length=LENGTH), TokenStore.open(store).split("train")
        for width in _WIDTHS.value:
            compare(int(width), data, split, _MEMBERS.value)


if __name__ == "__main__":
    app.run(main)
