"""What the table of runs shows of each, from one look at its files.

`spec.json` is read as plain JSON: building its dataclasses, with every type checked, takes longer than all else that is done here for a run.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from launch import states
from scaling import gin_files
from scaling.accounting import parameters
from scaling.errors import DataError
from scaling.models.config import TransformerConfig
from scaling.run_directory import RunDirectory, Spec, Status


@dataclasses.dataclass(frozen=True)
class ListedRun:
    """A run as a table shows it.

    Attributes:
      run_id, kind, name, sweep_id, tags: see :class:`scaling.run_directory.Spec`.
      parameters: total.
      tokens: at its last step.
      loss: held-out, of the primary domain, in nats per token; None for trunks, diverged and unfinished runs.
      wall_seconds: of the record; None without one.
      status: what its files say.
      state: the same in words, with the number of failed attempts.
      order: sorts runs by size, a trunk's branches after it.
    """

    run_id: str
    kind: str
    name: str
    sweep_id: str
    tags: Mapping[str, str]
    parameters: int
    tokens: int
    loss: float | None
    wall_seconds: float | None
    status: Status
    state: str
    order: tuple[Any, ...]

    def is_of(self, sweep: str) -> bool:
        """Whether it belongs to a sweep, which is given by its name or its id."""
        return sweep in (self.sweep_id, self.sweep_id.rpartition("-")[0])


def read(directory: RunDirectory) -> ListedRun:
    """Reads a frozen run.

    Raises:
      DataError: it has no readable `spec.json`.
    """
    spec, record = directory.spec_values(), directory.record()
    try:
        return _listed(directory, spec, record)
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{directory.path} holds no run: a field of its spec.json or record.json is missing or of another type "
            f"({type(error).__name__}: {error})",
            "delete the run directory and start the run again",
        ) from error


def below(root: str, sweep: str | None = None) -> list[ListedRun]:
    """The frozen runs under a root, by size, a trunk's branches after it.

    Args:
      root: the directory of the run directories.
      sweep: keeps the runs of one sweep, by its name or id; None keeps all.

    Raises:
      DataError: there is none, or one cannot be read.
    """
    folder = epath.Path(root)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--root={root} is a file", "give the directory that holds run directories")
    paths = [path for path in folder.iterdir() if (path / "spec.json").exists()] if folder.exists() else []
    found = [run for run in map(read, map(RunDirectory, paths)) if sweep is None or run.is_of(sweep)]
    if not found:
        raise DataError(
            f"there is no run under {root}" + (f" of the sweep {sweep!r}" if sweep else ""), "check --root and --sweep"
        )
    return sorted(found, key=lambda run: run.order)


def _listed(directory: RunDirectory, spec: Mapping[str, Any], record: Mapping[str, Any] | None) -> ListedRun:
    config, is_branch = spec["config"], spec["kind"] == "branch"
    losses = record["losses"] if record else {}
    trunk = spec["parent"]["run_id"] if spec["parent"] else spec["run_id"]
    status = record["status"] if record else directory.status()
    return ListedRun(
        **{name: spec[name] for name in ("run_id", "kind", "name", "sweep_id", "tags")},
        parameters=_parameters(json.dumps(config["model"], sort_keys=True)),
        tokens=_tokens(spec),
        loss=losses[record["primary_domain"]]["nats_per_token"] if losses else None,
        wall_seconds=record["wall_seconds"] if record else None,
        status=status,
        state=states.described(directory, status),
        order=(config["model"]["width"], config["seed"], trunk, is_branch, config["tokens"]),
    )


def _tokens(spec: Mapping[str, Any]) -> int:
    """See :attr:`scaling.run_directory.Spec.last_step`; the schedule matters to trunks alone, and there is one of them to several branches."""
    config = spec["config"]
    batch_tokens = config["batch_size"] * config["data"]["sequence_length"]
    if spec["kind"] == "trunk":
        return gin_files.from_dict(Spec, spec).last_step * batch_tokens
    return config["tokens"] // batch_tokens * batch_tokens


@functools.lru_cache(maxsize=1024)
def _parameters(model: str) -> int:
    """Of a model in JSON: a sweep has thousands of runs and a few models."""
    return parameters.count_parameters(gin_files.from_dict(TransformerConfig, json.loads(model))).total
