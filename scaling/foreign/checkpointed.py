"""Weights to and from Orbax checkpoints, in the layout that training saves and restores."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from scaling import gin_files, run_directory
from scaling.errors import CheckpointError
from scaling.foreign.weights import MODEL_FILE, SCHEMA_VERSION, SOURCE_FILE, CheckpointedModel, Weights
from scaling.models.parameters import nested, parameter_specs
from scaling.training import provenance
from scaling.training.checkpoints import Checkpoints

_PARAMETERS = "parameters"


def save(directory: os.PathLike[str], weights: Weights, source: Mapping[str, Any]) -> None:
    """Writes an imported model (:mod:`scaling.foreign.weights` has its files) into an existing, empty directory.

    Raises:
      OutputError: the directory is full or cannot be written.
    """
    directory = epath.Path(directory)
    checkpoints = Checkpoints(directory / "checkpoints")
    try:
        tree = nested(weights.parameters)
        checkpoints.save(0, {"step": jnp.zeros((), jnp.int32), _PARAMETERS: jax.tree.map(jnp.asarray, tree)})
    finally:
        checkpoints.close()
    write_source(directory, source)
    run_directory.write_json(directory / MODEL_FILE, gin_files.to_dict(weights.config))


def load(model: CheckpointedModel) -> Weights:
    """Reads the parameters alone of a run or of an imported model, into host memory.

    Raises:
      CheckpointError: the step is missing, or holds other parameters or shapes than the configuration.
    """
    specs = parameter_specs(model.config)
    if not model.checkpoints.is_dir():
        raise CheckpointError(f"{model.checkpoints} does not exist", "restore the directory, or make it again")
    # Not training's manager, which removes what it takes for leftovers: reading must leave a run as it is.
    with ocp.CheckpointManager(
        model.checkpoints if run_directory.is_remote(model.checkpoints) else model.checkpoints.absolute(),
        item_handlers=ocp.PyTreeCheckpointHandler(),
        options=ocp.CheckpointManagerOptions(create=False),
    ) as manager:
        if model.step not in manager.all_steps():
            raise CheckpointError(
                f"{model.checkpoints} has no checkpoint of step {model.step}, only {sorted(manager.all_steps())}",
                "restore the directory, or make it again",
            )
        _check_shapes(model, manager.item_metadata(model.step)[_PARAMETERS])
        wanted = {_PARAMETERS: nested({path: np.empty(spec.shape, np.float32) for path, spec in specs.items()})}
        as_numpy = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        restored = manager.restore(
            model.step, args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
        )
    return Weights(model.config, _flat(restored[_PARAMETERS]))


def write_source(directory: pathlib.Path, source: Mapping[str, Any]) -> None:
    """Writes source.json: where the weights come from, and which code converted them."""
    facts = {
        "schema_version": SCHEMA_VERSION,
        **source,
        "command": gin_files.command_line(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "created": run_directory.now(),
    }
    run_directory.write_json(epath.Path(directory) / SOURCE_FILE, facts)


def _check_shapes(model: CheckpointedModel, stored: Any) -> None:
    found = {path: tuple(leaf.shape) for path, leaf in _flat(stored).items()}
    expected = {path: spec.shape for path, spec in parameter_specs(model.config).items()}
    for path in sorted(found.keys() | expected.keys()):
        if found.get(path) != expected.get(path):
            raise CheckpointError(
                f"the checkpoint {os.fspath(model.checkpoints)}/{model.step} does not fit the model: {path} is "
                f"{found.get(path, 'absent')} there and {expected.get(path, 'absent')} in the configuration",
                "restore the directory, or make it again",
            )


def _flat(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
