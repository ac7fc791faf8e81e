"""A directory's safetensors files as one table of tensors: a single file, or shards with an index.

Format: https://huggingface.co/docs/safetensors; the index maps a tensor's name to the file that holds it.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping

# Imported for what it does to NumPy: without it NumPy does not know the type that most published weights have.
import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from scaling.errors import DataError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# Float32 holds every value of these exactly.
_LOSSLESS = ("F32", "F16", "BF16")


class TensorFiles:
    """Open safetensors files of one directory; see :func:`opened`.

    Attributes:
      directory: that holds them.
      names: of all tensors.
    """

    def __init__(self, directory: pathlib.Path, handles: Mapping[str, safe_open], places: Mapping[str, str]):
        self.directory = directory
        self.names = frozenset(places)
        self._handles = handles
        self._places = places

    @property
    def files(self) -> list[pathlib.Path]:
        """The files that hold the tensors, and their index where there is one."""
        index = [] if SINGLE_FILE in self._handles else [INDEX_FILE]
        return [self.directory / name for name in (*index, *sorted(self._handles))]

    def place(self, name: str) -> str:
        """The tensor and its file, for messages."""
        return f"{self.directory / self._places[name]}: tensor {name}"

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; reads its header only."""
        return tuple(self._handles[self._places[name]].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """Stored type of a tensor, in the format's spelling (F32, BF16)."""
        return self._handles[self._places[name]].get_slice(name).get_dtype()

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32, each value unchanged.

        Raises:
          DataError: it is stored in a type that float32 cannot hold exactly, or in a quantised one.
        """
        if self.dtype(name) not in _LOSSLESS:
            raise DataError(
                f"{self.place(name)} has type {self.dtype(name)}",
                f"convert weights of the types {', '.join(_LOSSLESS)}",
            )
        return self._handles[self._places[name]].get_tensor(name).astype(np.float32)


@contextlib.contextmanager
def opened(directory: pathlib.Path) -> Iterator[TensorFiles]:
    """Opens the files of a directory.

    Raises:
      DataError: a file is missing, truncated or not in the format, or the index names a tensor that its file lacks.
    """
    index = _index(directory)
    with contextlib.ExitStack() as stack:
        handles = {name: stack.enter_context(_open_file(directory / name)) for name in index}
        places = {tensor: name for name, handle in handles.items() for tensor in handle.keys()}
        for name, tensors in index.items():
            for tensor in tensors:
                if places.get(tensor) != name:
                    raise DataError(
                        f"{directory / name} lacks the tensor {tensor} of the index", "fetch the directory again"
                    )
        yield TensorFiles(directory, handles, places)


def write(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes one file; `tensors` are contiguous."""
    # The transformers library refuses files without this mark; it states the conventions of names, not a dependency.
    save_file(dict(tensors), path, metadata={"format": "pt"})
    # The library writes for its owner alone; the directory's own mode says who may read here.
    os.chmod(path, path.parent.stat().st_mode & 0o666)


def _index(directory: pathlib.Path) -> dict[str, list[str]]:
    """File names and the tensors that the index promises in each; a single file promises none."""
    if (directory / SINGLE_FILE).is_file():
        return {SINGLE_FILE: []}
    path = directory / INDEX_FILE
    if not path.is_file():
        raise DataError(
            f"{directory} holds neither {SINGLE_FILE} nor {INDEX_FILE}",
            "name a Hugging Face model directory whose weights are saved as safetensors",
        )
    try:
        weight_map = json.loads(path.read_text())["weight_map"]
        files: dict[str, list[str]] = {name: [] for name in sorted(set(weight_map.values()))}
        for tensor, name in weight_map.items():
            files[name].append(tensor)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not an index of safetensors ({error})", "fetch the directory again") from error
    for name in files:
        if pathlib.PurePath(name).name != name:
            raise DataError(f"{path} names the file {name!r} outside the directory", "fetch the directory again")
    return files


def _open_file(path: pathlib.Path) -> safe_open:
    try:
        return safe_open(path, framework="np")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "fetch the directory again") from error
    except SafetensorError as error:
        raise DataError(f"{path} is truncated or not a safetensors file ({error})", "fetch the file again") from error
