"""The model that a stage starts from: a run of stage one, a model imported from elsewhere, or an earlier stage."""

import dataclasses
import json
import os
import pathlib
from typing import Any, Literal

import numpy as np
from etils import epath

from scaling.data.manifested import VOCABULARY
from scaling.data.vocabularies import Vocabulary, load_vocabulary
from scaling.errors import CheckpointError, DataError
from scaling.foreign import checkpointed, weights
from scaling.models.config import TransformerConfig
from scaling.run_directory import RunDirectory

# What a finished stage leaves for those that follow: a directory as an imported model's.
MODEL = "model"
STAGE_FILE = "stage.json"

Select = Literal["lowest_loss", "largest"]


@dataclasses.dataclass(frozen=True)
class ParentConfig:
    """Where a model lies.

    Attributes:
      path: a run directory (of either stage), an imported model's directory, a directory of stage-one runs from which `select` takes one, or ROOT/NAME of a
        run that was named so.
      select: of a directory of runs, the completed one with the "lowest_loss" on its primary domain, or the "largest" by parameters (ties: more tokens).
      vocabulary: a token store whose vocabulary the model reads; needed for imported models alone, since runs know theirs.
    """

    path: str
    select: Select = "lowest_loss"
    vocabulary: str = ""


@dataclasses.dataclass(frozen=True)
class Parent:
    """A model that was found.

    Attributes:
      path: its directory.
      identity: what the run ids of stages that start from it are made of: the run id, or the hash of an imported model's files.
      model: the checkpoint, as the importers see it.
      vocabulary_store: the token store with its vocabulary.
    """

    path: epath.Path
    identity: str
    model: weights.CheckpointedModel
    vocabulary_store: pathlib.Path

    @property
    def config(self) -> TransformerConfig:
        """The architecture."""
        return self.model.config

    def vocabulary(self) -> Vocabulary:
        """How its text becomes tokens."""
        return load_vocabulary(self.vocabulary_store / VOCABULARY)

    def parameters(self) -> dict[str, np.ndarray]:
        """Its parameters by path, in host memory.

        Raises:
          CheckpointError: they are missing, or are those of another shape.
        """
        return checkpointed.load(self.model).parameters


def find(config: ParentConfig) -> Parent:
    """Finds a stage's parent, without reading weights.

    Raises:
      CheckpointError: it is missing or not finished.
      DataError: the directory holds no model, or its vocabulary is unknown.
    """
    path = _directory(epath.Path(config.path))
    if (path / STAGE_FILE).is_file():
        return _stage(path)
    if (path / weights.MODEL_FILE).is_file():
        return _imported(path, config.vocabulary)
    if not (path / "spec.json").is_file():
        path = _selected(path, config.select)
    return _run(path)


def _directory(path: epath.Path) -> epath.Path:
    """The path itself, or the one finished run beside it that has its name."""
    if path.is_dir():
        return path
    named = [record for record in _records(path.parent) if record.get("name") == path.name]
    finished = [record for record in named if record["status"] == "completed"]
    if len(finished) == 1:
        return path.parent / finished[0]["run_id"]
    if finished:
        raise CheckpointError(
            f"{len(finished)} runs in {path.parent} are named {path.name!r}: {', '.join(record['run_id'] for record in finished)}",
            "name one of these directories",
        )
    raise CheckpointError(
        f"the parent {os.fspath(path)!r} does not exist, and no finished run in {path.parent} has that name",
        "train it first, or correct ParentConfig.path",
    )


def _records(root: epath.Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(root.glob("*/record.json"))]


def _run(path: epath.Path) -> Parent:
    model = weights.find(path)
    return Parent(path, model.run_id, model, pathlib.Path(RunDirectory(path).spec.config.data.store))


def _stage(path: epath.Path) -> Parent:
    """A stage of ours: its record says what it is, its `model` directory holds the weights."""
    stage = json.loads((path / STAGE_FILE).read_text())
    if not (path / "record.json").is_file():
        raise CheckpointError(f"{path} is not completed", "finish it: the command that began it continues it")
    record = json.loads((path / "record.json").read_text())
    if record["status"] != "completed":
        raise CheckpointError(f"{path} is {record['status']}, not completed", "choose another parent")
    return Parent(path, stage["run_id"], weights.find(path / MODEL), pathlib.Path(stage["vocabulary_store"]))


def _imported(path: epath.Path, vocabulary: str) -> Parent:
    if not vocabulary:
        raise DataError(
            f"{path} is an imported model, and nothing says how its text becomes tokens",
            "bind ParentConfig.vocabulary to a token store with its vocabulary",
        )
    source = json.loads((path / weights.SOURCE_FILE).read_text())
    identity = "-".join(sorted(file["sha256"][:16] for file in source["files"]))
    return Parent(path, identity, weights.find(path), pathlib.Path(vocabulary))


def _selected(root: epath.Path, select: Select) -> epath.Path:
    """The best completed model of a directory of runs."""
    finished = [
        record
        for record in _records(root)
        if record.get("kind") in ("pretrain", "branch") and record["status"] == "completed" and record["primary_domain"]
    ]
    if not finished:
        raise CheckpointError(
            f"{root} holds no completed stage-one run", "train a sweep there first: python -m launch.sweep"
        )

    def rank(record):
        loss = record["losses"][record["primary_domain"]]["nats_per_token"]
        return (loss,) if select == "lowest_loss" else (-record["parameters"]["total"], -record["tokens"], loss)

    return root / min(finished, key=rank)["run_id"]
