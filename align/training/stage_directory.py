"""The directory of a stage: frozen before its first attempt, done when `record.json` is there.

ROOT/<run_id>/
  stage.json          what the stage is: kind, configuration, parents, data             (frozen)
  config.gin          every Gin binding; operative.gin: those that were used             (frozen)
  attempts/NNNN/      start.json, metrics.jsonl, end.json of one process
  checkpoints/        Orbax: the whole state, so that a kill costs only the work since
  model/              the final weights, as an imported model's directory: what later stages start from
  measurements.jsonl  the policy's reward and KL as it was trained, written once at the end
  record.json         the outcome, written once and atomically
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from align.models.parents import STAGE_FILE
from scaling import gin_files
from scaling.errors import OutputError
from scaling.run_config import canonical_json
from scaling.run_directory import RunDirectory, write_json

SCHEMA_VERSION = 1
MEASUREMENTS = "measurements.jsonl"

# Fields that say where things lie and how they are executed; hashes of parents and data stand for the former.
_OUTSIDE_IDENTITY = frozenset(
    {
        "path",
        "select",
        "vocabulary",
        "store",
        "prompts",
        "members",
        "output",
        "execution",
        "mirrors",
        "checkpoint_every",
        "reference_cache",
    }
)


@dataclasses.dataclass(frozen=True)
class StageSpec:
    """What a stage is; `stage.json`.

    Attributes:
      run_id: 16 hexadecimal digits of a hash over kind, configuration, parents and data.
      kind: "sft", "reward", "preference", "ppo", "best_of_n".
      config: the stage's configuration, as nested dicts.
      parents: role -> identity of the model ("policy", "reference", "reward", ...).
      data: role -> hash of the example store.
      vocabulary_store: the token store with the policy's vocabulary.
      name: a readable name; free.
      command: that froze the stage.
    """

    run_id: str
    kind: str
    config: dict[str, Any]
    parents: dict[str, str]
    data: dict[str, str]
    vocabulary_store: str
    name: str = ""
    command: str = ""
    schema_version: int = SCHEMA_VERSION


class StageDirectory(RunDirectory):
    """The directory of one stage."""

    @property
    def spec(self) -> StageSpec:
        """The frozen specification.

        Raises:
          DataError: the directory holds no readable `stage.json`.
        """
        return gin_files.from_dict(StageSpec, self._read_json(STAGE_FILE))

    @property
    def measurements_file(self) -> epath.Path:
        """Where the measurements are once the stage is done."""
        return self.path / MEASUREMENTS

    def write_measurements(self) -> None:
        """Writes the measured policies of all attempts, in order of their steps, atomically."""
        rows = [{"step": row["step"], **row["policy"]} for row in self.metrics() if "policy" in row]
        if rows:
            write_lines(self.measurements_file, rows)


def stage_spec(
    kind: str,
    config: Any,
    parents: Mapping[str, str],
    data: Mapping[str, str],
    vocabulary_store: str,
    name: str = "",
) -> StageSpec:
    """Names a stage by what it computes."""
    values = json.loads(json.dumps(gin_files.to_dict(config)))
    identity = {
        "kind": kind,
        "config": _identity(values),
        "parents": dict(parents),
        "data": dict(data),
        "schema_version": SCHEMA_VERSION,
    }
    run_id = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]
    return StageSpec(run_id, kind, values, dict(parents), dict(data), vocabulary_store, name, gin_files.command_line())


def freeze(root: str | os.PathLike[str], spec: StageSpec, bindings: str = "", operative: str = "") -> StageDirectory:
    """Creates the directory of a stage, or brings paths and execution up to date in one that is not done.

    Raises:
      OutputError: the root cannot be written.
    """
    directory = StageDirectory(epath.Path(root) / spec.run_id)
    if directory.record() is not None:
        return directory
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        (directory.path / "config.gin").write_text(bindings)
        (directory.path / "operative.gin").write_text(operative)
        # Last, because its presence means that the directory is complete.
        write_json(directory.path / STAGE_FILE, gin_files.to_dict(spec))
    except OSError as error:
        raise OutputError(
            f"the stage's directory {directory.path} cannot be written: {error.strerror or error}",
            "choose a root directory that can be written and has room",
        ) from error
    return directory


def write_lines(path: epath.Path, rows: list[dict[str, Any]]) -> None:
    """Writes JSON lines under a temporary name and renames them."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    partial.replace(path)


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _identity(entry) for key, entry in value.items() if key not in _OUTSIDE_IDENTITY}
    if isinstance(value, list):
        return [_identity(entry) for entry in value]
    return value
