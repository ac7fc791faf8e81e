"""How batches reach the compiled step: gathered on the device, or read ahead from disk."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from scaling import mesh as meshes
from scaling.data import batches, device
from scaling.data.batches import Batch
from scaling.data.prefetch import prefetched_batches
from scaling.data.store import Split
from scaling.run_config import DataConfig
from scaling.training.step import Rates, StepMetrics, TrainState, TrainStep


class Feed(Protocol):
    """Takes one optimiser step on the batch that (seed, step) determines; does not wait for the device."""

    def __call__(self, state: TrainState, step: int, rates: Rates) -> tuple[TrainState, StepMetrics]: ...


def make_feed(
    train_step: TrainStep, data: DataConfig, split: Split, seed: int, first_step: int, last_step: int
) -> Feed:
    """The feed of a run.

    Args:
      train_step: the compiled programs.
      data: placement and how windows become batches.
      split: the training text.
      seed: of the order.
      first_step, last_step: the steps that will be asked for, in order (the second one excluded).
    """
    if device.resolve_placement(data, split) == "device":
        return DeviceFeed(train_step, split, seed)
    return HostFeed(train_step, data, split, seed, first_step, last_step)


class DeviceFeed:
    """The split lies on the device; a step is told which windows to gather."""

    def __init__(self, train_step: TrainStep, split: Split, seed: int):
        """Copies the split to every device."""
        self._train_step = train_step
        self._seed = seed
        self._num_windows = split.num_windows(train_step.key.sequence_length)
        self._tables = device.device_tables(split, train_step.replicated)

    def __call__(self, state: TrainState, step: int, rates: Rates) -> tuple[TrainState, StepMetrics]:
        windows = batches.window_indices(step, self._train_step.key.batch_size, self._num_windows, self._seed)
        windows, rates = meshes.place((windows.astype(np.int32), rates), self._train_step.replicated)
        return self._train_step.step_on_windows(state, self._tables, windows, rates)


class HostFeed:
    """The split stays on disk; Grain's threads read this host's share of each batch ahead of the step."""

    def __init__(
        self, train_step: TrainStep, data: DataConfig, split: Split, seed: int, first_step: int, last_step: int
    ):
        """Starts reading at `first_step`."""
        self._train_step = train_step
        share, shares = meshes.rows_of_process(train_step.batch_sharding, train_step.key.batch_size)
        self._batches: Iterator[Batch] = prefetched_batches(
            split,
            length=train_step.key.sequence_length,
            batch_size=train_step.key.batch_size,
            seed=seed,
            start_step=first_step,
            num_steps=last_step,
            isolate_documents=data.isolate_documents,
            process_index=share,
            process_count=shares,
        )
        self._next_step = first_step

    def __call__(self, state: TrainState, step: int, rates: Rates) -> tuple[TrainState, StepMetrics]:
        if step != self._next_step:
            raise ValueError(f"steps must be asked for in order: expected {self._next_step}, got {step}")
        self._next_step += 1
        sharding = self._train_step.batch_sharding
        batch = meshes.place_share(next(self._batches), sharding)
        return self._train_step.step(state, batch, meshes.place(rates, self._train_step.replicated))
