"""Checkpoints: what stays, what is refused, and that saving never sees the next step's writes."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.errors import CheckpointError, OutputError
from scaling.training.checkpoints import Checkpoints


def state(value: float, size: int = 4) -> dict:
    return {"step": jnp.int32(value), "parameters": {"kernel": jnp.full((size, 3), value, jnp.float32)}}


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


def test_the_latest_and_the_branch_points_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, keep_steps=(1, 3))
    for step in range(1, 7):
        checkpoints.save(step, state(step))
    checkpoints.close()
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1, 3, 5, 6]


def test_saving_is_safe_against_donation(tmp_path):
    """The state is overwritten in place right after the save has begun; the file must hold the old one."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 1, tree), donate_argnums=0)
    old = state(7, size=300_000)
    target = abstract(old)
    checkpoints.save(7, old)
    jax.block_until_ready(overwrite(old))
    checkpoints.wait()
    restored = checkpoints.restore(7, target)
    np.testing.assert_array_equal(restored["parameters"]["kernel"], np.full((300_000, 3), 7, np.float32))
    checkpoints.close()


def test_a_missing_step_and_another_shape_are_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(2, state(2))
    checkpoints.wait()
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 5, only \[2\]"):
        checkpoints.restore(5, abstract(state(2)))
    with pytest.raises(CheckpointError, match=r"parameters/kernel is \(4, 3\) there and \(6, 3\)"):
        checkpoints.restore(2, abstract(state(2, size=6)))
    checkpoints.close()


def test_an_interrupted_save_leaves_the_one_before(tmp_path):
    """What a kill leaves behind (a directory with a temporary name) is not a checkpoint, and is cleaned up."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(2, state(2))
    checkpoints.close()
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()
    again = Checkpoints(tmp_path / "checkpoints")
    assert again.latest() == 2
    again.save(4, state(4))
    again.close()
    assert Checkpoints(tmp_path / "checkpoints").latest() == 4


def test_reading_leaves_a_save_of_another_process_alone(tmp_path):
    """A branch reads its trunk while that may still be saving: an unfinished checkpoint is no leftover then."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(2, state(2))
    checkpoints.close()
    unfinished = tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp"
    unfinished.mkdir()
    reader = Checkpoints(tmp_path / "checkpoints", read_only=True)
    assert reader.restore(2, abstract(state(2)))["step"] == 2
    reader.close()
    assert unfinished.is_dir()


def test_reading_what_is_not_there_makes_nothing(tmp_path):
    reader = Checkpoints(tmp_path / "checkpoints", read_only=True)
    with pytest.raises(CheckpointError, match="finish the trunk first"):
        reader.require(2)
    reader.close()
    assert not (tmp_path / "checkpoints").exists()


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OutputError, match="the state takes 0.0 MB and 0.0 MB are free"):
        checkpoints.save(2, state(2))
    checkpoints.close()
    assert checkpoints.steps() == []


def test_a_relative_directory_works(tmp_path, monkeypatch):
    """Orbax takes absolute paths only; runs are given as people type them."""
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("runs/one/checkpoints")
    checkpoints.save(2, state(2))
    checkpoints.close()
    assert (tmp_path / "runs" / "one" / "checkpoints" / "2").is_dir()
