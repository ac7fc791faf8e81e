"""What a finished stage leaves for those that follow: its weights as an imported model's directory, and the head of a reward model."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from align.models.parents import MODEL
from align.models.policy import Policy, flat
from align.training.stage_directory import StageDirectory
from scaling import gin_files
from scaling.accounting.parameters import count_parameters
from scaling.errors import CheckpointError
from scaling.foreign import checkpointed
from scaling.foreign.weights import Weights
from scaling.run_directory import write_json

HEAD_FILE = "head.json"


def save_model(policy: Policy, parameters: Any, directory: StageDirectory) -> dict[str, Any]:
    """Writes a stage's final parameters into its directory.

    Args:
      policy: the architecture.
      parameters: the full tree (adapters merged).
      directory: of the stage.

    Returns:
      the fields `model` and `parameters` of the record.
    """
    path = directory.path / MODEL
    path.mkdir(exist_ok=True)
    checkpointed.save(
        path, Weights(policy.config, flat(policy.config, parameters)), {"stage": directory.spec.run_id, "files": []}
    )
    return {
        "model": gin_files.to_dict(policy.config),
        "parameters": dataclasses.asdict(count_parameters(policy.config)),
    }


def save_head(directory: StageDirectory, head: Mapping[str, np.ndarray], normaliser: Mapping[str, float]) -> None:
    """Writes a reward model's head, with the normalisation that was fixed when it was trained."""
    values = {name: np.asarray(value, np.float32).tolist() for name, value in head.items()}
    write_json(directory.path / HEAD_FILE, {"head": values, "normaliser": dict(normaliser)})


def load_head(path: epath.Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Reads what :func:`save_head` wrote.

    Raises:
      CheckpointError: the directory is not that of a reward model.
    """
    if not (path / HEAD_FILE).is_file():
        raise CheckpointError(f"{path} is no reward model: it has no {HEAD_FILE}", "name a run of align.reward")
    values = json.loads((path / HEAD_FILE).read_text())
    head = {name: np.asarray(value, np.float32) for name, value in values["head"].items()}
    return head, values["normaliser"]
