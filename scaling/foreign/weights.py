"""The weights of one model as NumPy arrays, and the directory that keeps an imported one.

    DIR/
      model.json     the TransformerConfig
      source.json    where the weights come from: files with their SHA-256, architecture, approximations, versions
      checkpoints/   Orbax, step 0: {"step", "parameters"}, which is a training state without its optimiser

Parameters have the same layout as in a run's checkpoints, so whatever starts from one can start from the other. Nothing
here imports JAX.
"""

import dataclasses
import json
import os

import numpy as np
from etils import epath

from scaling import gin_files
from scaling.errors import CheckpointError, DataError
from scaling.models.config import TransformerConfig
from scaling.run_directory import RunDirectory

MODEL_FILE = "model.json"
SOURCE_FILE = "source.json"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model.

    Attributes:
      config: the architecture.
      parameters: float32 arrays by path, as :func:`scaling.models.parameters.parameter_specs` declares them.
    """

    config: TransformerConfig
    parameters: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class CheckpointedModel:
    """A directory of ours that holds the final weights of a model: a completed run, or an imported one.

    Attributes:
      path: the directory.
      config: the architecture.
      step: of the checkpoint.
      run_id: empty for an imported one.
    """

    path: epath.Path
    config: TransformerConfig
    step: int
    run_id: str = ""

    @property
    def checkpoints(self) -> epath.Path:
        """Where Orbax keeps them."""
        return self.path / "checkpoints"


def find(path: str | os.PathLike[str]) -> CheckpointedModel:
    """Looks at what a directory holds, without reading weights.

    Raises:
      DataError: it is neither a run nor an imported model.
      CheckpointError: the run is not completed.
    """
    path = epath.Path(path)
    if (path / MODEL_FILE).is_file():
        return CheckpointedModel(path, _imported_config(path / MODEL_FILE), step=0)
    run = RunDirectory(path)
    spec = run.spec
    if run.status() != "completed":
        raise CheckpointError(
            f"{path} is {run.status()}, not completed", "finish it: python -m scaling.train --run_dir"
        )
    return CheckpointedModel(path, spec.config.model, spec.last_step, spec.run_id)


def _imported_config(path: epath.Path) -> TransformerConfig:
    try:
        return gin_files.from_dict(TransformerConfig, json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error})", "delete the directory and import again") from error
