"""Runs of seconds, for tests: a LLaMA of width 16 on bytes."""

import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from scaling import run_directory, run_stores
from scaling.data.config import DataConfig
from scaling.gin_files import Loaded
from scaling.models import ladder
from scaling.optim.config import OptimizerConfig, ScheduleConfig
from scaling.run_config import EvaluationConfig, EvaluationDomain, RunConfig
from scaling.run_directory import RunDirectory
from scaling.training.family import train_directories


def config(store: str, **fields) -> RunConfig:
    """40 steps of 8 x 64 tokens, unless `fields` say otherwise."""
    defaults = dict(
        model=ladder.llama(width=16, vocab_size=259),
        data=DataConfig(store=store, sequence_length=64),
        tokens=40 * 512,
        batch_size=8,
        schedule=ScheduleConfig(name="wsd", peak=0.01, warmup_tokens=4 * 512),
        optimizer=OptimizerConfig(),
        evaluation=EvaluationConfig(domains=(EvaluationDomain("speeches", store),)),
    )
    return RunConfig(**(defaults | fields))


def freeze(root: pathlib.Path, run: RunConfig) -> list[RunDirectory]:
    """The directories of a run without Gin files."""
    return run_directory.freeze(root, Loaded(run, "", ""), run_stores.hashes_of(run))


def train(root: pathlib.Path, run: RunConfig) -> list[RunDirectory]:
    """Freezes and trains a run (with its branches) in this process."""
    directories = freeze(root, run)
    train_directories([directories[0].path])
    return directories


def final_parameters(directory: RunDirectory) -> dict[str, np.ndarray]:
    """The parameters of the last checkpoint, by path."""
    with ocp.CheckpointManager(directory.checkpoints, item_handlers=ocp.StandardCheckpointHandler()) as manager:
        # A target on this process's device: the run may have been trained by several processes.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            manager.item_metadata(manager.latest_step()),
        )
        state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(target))
    leaves = jax.tree_util.tree_leaves_with_path(state["parameters"])
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_identical(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


GIN = """
from __gin__ import dynamic_registration
from scaling import run_config
from scaling.data import config as data
from scaling.models import ladder
from scaling.optim import config as optim

ladder.llama.width = {width}
ladder.llama.vocab_size = 259
data.DataConfig.store = {store!r}
data.DataConfig.sequence_length = 64
optim.ScheduleConfig.name = 'wsd'
optim.ScheduleConfig.peak = 0.01
speeches/run_config.EvaluationDomain.name = 'speeches'
speeches/run_config.EvaluationDomain.store = {store!r}
run_config.EvaluationConfig.domains = (@speeches/run_config.EvaluationDomain(),)
run_config.CheckpointConfig.every_tokens = {checkpoint_tokens}
run_config.RunConfig.model = @ladder.llama()
run_config.RunConfig.data = @data.DataConfig()
run_config.RunConfig.schedule = @optim.ScheduleConfig()
run_config.RunConfig.evaluation = @run_config.EvaluationConfig()
run_config.RunConfig.checkpoint = @run_config.CheckpointConfig()
run_config.RunConfig.batch_size = 8
run_config.RunConfig.tokens = {tokens}
"""


def write_gin(path: pathlib.Path, store: str, *, width: int = 16, steps: int = 40, checkpoint_steps: int = 10) -> str:
    """The same run as a Gin file."""
    path.write_text(GIN.format(width=width, store=store, tokens=steps * 512, checkpoint_tokens=checkpoint_steps * 512))
    return str(path)
