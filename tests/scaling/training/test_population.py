"""Runs trained side by side compute, write and survive what they would alone."""

import dataclasses

import jax
import numpy as np
import pytest

from scaling.optim.config import OptimizerConfig, ScheduleConfig
from scaling.run_directory import RunDirectory
from scaling.training.family import train_directories
from scaling.training.interruption import Interruption
from scaling.training.population.train import train_population
from tests.scaling.training import small_runs

STEPS = 20


def configs(store: str, **fields):
    """Three runs of one shape that differ in seed, learning rate and weight decay."""
    base = small_runs.config(store, **({"tokens": STEPS * 512} | fields))
    schedule = dataclasses.replace(base.schedule, peak=0.02)
    return [
        base,
        dataclasses.replace(base, seed=1, schedule=schedule),
        dataclasses.replace(base, seed=2, optimizer=OptimizerConfig(weight_decay=0.5)),
    ]


def freeze(root, runs) -> list[RunDirectory]:
    return [directory for run in runs for directory in small_runs.freeze(root, run)]


@pytest.fixture(scope="module")
def alone(byte_store, tmp_path_factory):
    directories = freeze(tmp_path_factory.mktemp("alone"), configs(byte_store))
    assert set(train_directories([directory.path for directory in directories]).values()) == {"completed"}
    return directories


def assert_same(actual: RunDirectory, expected: RunDirectory) -> None:
    """The same run, bit for bit: parameters, held-out losses and curve."""
    assert actual.path.name == expected.path.name
    small_runs.assert_identical(small_runs.final_parameters(actual), small_runs.final_parameters(expected))
    assert actual.record()["losses"] == expected.record()["losses"]
    measured = ("step", "tokens", "loss", "gradient_norm", "learning_rate")
    rows = [[{name: row[name] for name in measured} for row in run.metrics()] for run in (actual, expected)]
    assert rows[0] == rows[1]


def test_on_cpu_a_member_is_bit_for_bit_the_run_alone(byte_store, tmp_path, alone):
    directories = freeze(tmp_path, configs(byte_store))
    statuses = train_directories([directory.path for directory in directories], population=3)
    assert set(statuses.values()) == {"completed"}
    for actual, expected in zip(directories, alone, strict=True):
        assert_same(actual, expected)
        assert actual.record()["population"] == 3 and expected.record()["population"] == 1
