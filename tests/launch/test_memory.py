"""Predicted memory against what XLA says of the compiled step."""

import dataclasses

import pytest

from launch import memory
from scaling import gin_files
from scaling.accounting import parameters
from scaling.run_config import ExecutionConfig, RunConfig


def config(*bindings: str) -> RunConfig:
    return gin_files.load(RunConfig, ["configs/runs/cpu_base.gin"], bindings).config


@pytest.mark.slow
@pytest.mark.parametrize("bindings", [("WIDTH=64",), ("WIDTH=128", "RunConfig.batch_size=16")])
def test_the_prediction_is_near_the_compiled_step(bindings):
    from scaling.accounting import compiled

    run = config(*bindings)
    one_device = dataclasses.replace(run, execution=ExecutionConfig(data=1))
    total = compiled.bytes_per_device(compiled.abstract_step(one_device))["total"]
    assert memory.run_bytes(run) == pytest.approx(total, rel=0.25)


def test_weights_gradients_and_moments_are_exact_and_a_mesh_shares_them():
    run = config("WIDTH=64")
    tiny = dataclasses.replace(run, batch_size=1)
    per_sequence = memory.run_bytes(dataclasses.replace(run, batch_size=2)) - memory.run_bytes(tiny)
    state = memory.run_bytes(tiny) - per_sequence
    assert state == pytest.approx(16 * parameters.count_parameters(run.model).total)
    sharded = dataclasses.replace(run, execution=ExecutionConfig(fsdp=2, tensor=2))
    assert memory.run_bytes(sharded) == pytest.approx(memory.run_bytes(run) / 4)
