"""How batches reach the step of a population: every member has the batches that (its seed, the step) determine, as when alone."""

from collections.abc import Mapping
from typing import Protocol

import jax
import numpy as np

from scaling.data import batches, device
from scaling.data.batches import Batch
from scaling.data.prefetch import prefetched_batches
from scaling.data.store import Split
from scaling.run_config import DataConfig
from scaling.training.population.programs import PopulationStep
from scaling.training.step import Rates, StepMetrics, TrainState


class PopulationFeed(Protocol):
    """Takes one step of the active members; does not wait for the device.

    Called with the stacked states, the step, and the rates of every active member by its slot.
    """

    def __call__(self, states: TrainState, step: int, rates: Mapping[int, Rates]) -> tuple[TrainState, StepMetrics]: ...


def make_population_feed(
    programs: PopulationStep,
    data: DataConfig,
    split: Split,
    seeds: Mapping[int, int],
    first_steps: Mapping[int, int],
    last_step: int,
) -> PopulationFeed:
    """The feed of a population.

    Args:
      programs: the compiled step.
      data: placement and how windows become batches; of all members.
      split: the training text, of all members.
      seeds: of the order, by slot.
      first_steps: the first step that each slot will be asked for; all later ones up to `last_step` follow.
      last_step: the end of all members.
    """
    if device.resolve_placement(data, split) == "device":
        return DevicePopulationFeed(programs, split, seeds)
    return HostPopulationFeed(programs, data, split, seeds, first_steps, last_step)


class DevicePopulationFeed:
    """The split lies once on every device, for all of its members; a step is told which windows each gathers."""

    def __init__(self, programs: PopulationStep, split: Split, seeds: Mapping[int, int]):
        """Copies the split to every device."""
        self._programs = programs
        self._seeds = seeds
        self._num_windows = split.num_windows(programs.member.key.sequence_length)
        self._tables = device.device_tables(split, programs.replicated)

    def __call__(self, states: TrainState, step: int, rates: Mapping[int, Rates]) -> tuple[TrainState, StepMetrics]:
        batch_size = self._programs.member.key.batch_size
        windows_PxB = np.zeros((self._programs.slots, batch_size), np.int32)
        for slot in rates:
            windows_PxB[slot] = batches.window_indices(step, batch_size, self._num_windows, self._seeds[slot])
        inputs = jax.device_put((windows_PxB, *_inputs(self._programs.slots, rates)), self._programs.by_member)
        windows, rates_P, active_P = inputs
        return self._programs.step_on_windows(states, self._tables, windows, rates_P, active_P)


class HostPopulationFeed:
    """The split stays on disk; Grain's threads read each member's batches ahead of the step."""

    def __init__(
        self,
        programs: PopulationStep,
        data: DataConfig,
        split: Split,
        seeds: Mapping[int, int],
        first_steps: Mapping[int, int],
        last_step: int,
    ):
        """Starts reading for every member at its first step."""
        self._programs = programs
        key = programs.member.key
        self._batches = {
            slot: prefetched_batches(
                split,
                length=key.sequence_length,
                batch_size=key.batch_size,
                seed=seed,
                start_step=first_steps[slot],
                num_steps=last_step,
                isolate_documents=data.isolate_documents,
                threads=1,
                buffer=2,
            )
            for slot, seed in seeds.items()
        }
        self._next_step = dict(first_steps)

    def __call__(self, states: TrainState, step: int, rates: Mapping[int, Rates]) -> tuple[TrainState, StepMetrics]:
        read: dict[int, Batch] = {}
        for slot in rates:
            if step != self._next_step[slot]:
                raise ValueError(
                    f"steps must be asked for in order: slot {slot} expected {self._next_step[slot]}, got {step}"
                )
            self._next_step[slot] += 1
            read[slot] = next(self._batches[slot])
        filler = next(iter(read.values()))
        stacked = Batch(
            *(
                np.stack(arrays)
                for arrays in zip(*(read.get(slot, filler) for slot in range(self._programs.slots)), strict=True)
            )
        )
        batches_PxBxT, rates_P, active_P = jax.device_put(
            (stacked, *_inputs(self._programs.slots, rates)), self._programs.by_member
        )
        return self._programs.step(states, batches_PxBxT, rates_P, active_P)


def _inputs(slots: int, rates: Mapping[int, Rates]) -> tuple[Rates, np.ndarray]:
    """The rates of all slots as arrays [P], and which of them are active."""
    rates_P = Rates(np.zeros(slots, np.float32), np.zeros(slots, np.float32))
    active_P = np.zeros(slots, bool)
    for slot, member in rates.items():
        rates_P.learning_rate[slot], rates_P.weight_decay[slot] = member
        active_P[slot] = True
    return rates_P, active_P
