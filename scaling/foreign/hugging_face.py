"""Hugging Face model directories: config.json beside safetensors files."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from scaling.errors import DataError
from scaling.foreign import config_json, safetensors_files
from scaling.foreign.architectures import Architecture
from scaling.foreign.config_json import CONFIG_FILE, Description
from scaling.foreign.layouts import Tensor, present
from scaling.foreign.safetensors_files import SINGLE_FILE, TensorFiles
from scaling.foreign.weights import Weights
from scaling.models.config import TransformerConfig
from scaling.models.parameters import ParameterSpec, parameter_specs

_HASH_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class Model:
    """An open Hugging Face directory whose tensors fit its config.json.

    Attributes:
      path: the directory.
      description: of its config.json.
      types: how its tensors are stored, such as ("BF16",).
    """

    path: pathlib.Path
    description: Description
    types: tuple[str, ...]
    _files: TensorFiles

    @property
    def config(self) -> TransformerConfig:
        """Our equal of its architecture."""
        return self.description.config

    def weights(self) -> Weights:
        """Reads every tensor.

        Raises:
          DataError: a type that float32 cannot hold, or a second copy of a tied head that differs from the embedding.
        """
        architecture, specs = self.description.architecture, parameter_specs(self.config)
        parameters = {path: np.empty(spec.shape, np.float32) for path, spec in specs.items()}
        for tensor, layer in _each(architecture, self.config, specs):
            value = self._files.read(_stored_name(architecture, tensor.name.format(layer=layer), self._files))
            for path, part in zip(tensor.paths, tensor.from_foreign(specs, value), strict=True):
                parameters[path][layer if tensor.stacked else ...] = part
        self._check_tied_head(parameters["embedding/tokens"])
        return Weights(self.config, parameters)

    def source(self) -> dict[str, Any]:
        """Where the weights come from, with the SHA-256 of every file; reads them all."""
        return {
            "format": "hugging_face",
            "architecture": self.description.architecture.name,
            "directory": str(self.path),
            "files": {path.name: _sha256(path) for path in (self.path / CONFIG_FILE, *self._files.files)},
            "types": list(self.types),
            "approximations": list(self.description.approximations),
        }

    def _check_tied_head(self, embedding: np.ndarray) -> None:
        head = self.description.architecture.head
        if not self.config.tied or head not in self._files.names:
            return
        if not np.array_equal(self._files.read(head), embedding):
            raise DataError(
                f"{self._files.place(head)} differs from the embedding that tie_word_embeddings says it shares",
                "set tie_word_embeddings to false in config.json",
            )


@contextlib.contextmanager
def opened(path: pathlib.Path, accept_tanh_gelu: bool = False) -> Iterator[Model]:
    """Opens a directory and compares every tensor's name and shape with its config.json; reads no weights.

    Args:
      path: holds config.json and model.safetensors, or shards with model.safetensors.index.json.
      accept_tanh_gelu: see :func:`scaling.foreign.config_json.read`.

    Raises:
      DataError: a file is missing or damaged; a tensor is missing, unknown or of another shape.
      ConfigError: the architecture or a field of config.json has no equivalent here.
    """
    description = config_json.read(path, accept_tanh_gelu)
    with safetensors_files.opened(path) as files:
        types = _checked_types(description, files)
        yield Model(path, description, types, files)


def write(directory: pathlib.Path, weights: Weights) -> None:
    """Writes config.json and model.safetensors (one file, float32) into an existing directory.

    Raises:
      ConfigError: the architecture has no equivalent; names the field.
    """
    architecture, fields = config_json.write(weights.config)
    specs = parameter_specs(weights.config)
    tensors = {}
    for tensor, layer in _each(architecture, weights.config, specs):
        whole = [weights.parameters[path] for path in tensor.paths]
        values = [value[layer] for value in whole] if tensor.stacked else whole
        tensors[tensor.name.format(layer=layer)] = tensor.to_foreign(specs, values)
    safetensors_files.write(directory / SINGLE_FILE, tensors)
    (directory / CONFIG_FILE).write_text(json.dumps(fields, indent=2, allow_nan=False) + "\n")


def _each(
    architecture: Architecture, config: TransformerConfig, specs: dict[str, ParameterSpec]
) -> Iterator[tuple[Tensor, int]]:
    """Every tensor of a model, those of the layers once a layer; the layer of others means nothing."""
    for tensor in present(architecture.tensors, specs):
        for layer in range(config.depth if tensor.stacked else 1):
            yield tensor, layer


def _checked_types(description: Description, files: TensorFiles) -> tuple[str, ...]:
    """Compares names and shapes with the configuration; returns the types in which the weights are stored."""
    architecture, config = description.architecture, description.config
    specs = parameter_specs(config)
    unknown, types = set(files.names), set()
    for tensor, layer in _each(architecture, config, specs):
        name = _stored_name(architecture, tensor.name.format(layer=layer), files)
        if name not in files.names:
            raise DataError(f"{files.directory} lacks the tensor {name}", "compare config.json with the weights")
        if files.shape(name) != tensor.shape(specs):
            raise DataError(
                f"{files.place(name)} has shape {files.shape(name)}, config.json says {tensor.shape(specs)}",
                "correct config.json, or fetch the directory again",
            )
        unknown.discard(name)
        types.add(files.dtype(name))
    unknown = {name for name in unknown if not re.fullmatch(architecture.buffers, name)}
    if config.tied:
        unknown.discard(architecture.head)
    if unknown:
        raise DataError(
            f"{files.place(min(unknown))} has no place in {architecture.name} as config.json describes it",
            "compare config.json with the weights",
        )
    return tuple(sorted(types))


def _stored_name(architecture: Architecture, name: str, files: TensorFiles) -> str:
    """Files saved from the base model alone leave its prefix out, as the published GPT-2 does."""
    short = name.removeprefix(architecture.prefix)
    return short if name not in files.names and short in files.names else name


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
