"""Log-probabilities of a reference, computed once for all pairs and kept under a hash of model and data."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import socket
from collections.abc import Callable

import numpy as np

from align.data.batches import covering
from scaling.errors import DataError
from scaling.run_config import canonical_json

_VALUES = "log_probs.npy"
_KEY = "key.json"


@dataclasses.dataclass(frozen=True)
class Key:
    """What the values depend on.

    Attributes:
      model: identity of the reference.
      examples: hash of the example store.
      split: of it.
      count: pairs.
      length: T, tokens of a row.
      compute_dtype: of the reference's matmuls.
    """

    model: str
    examples: str
    split: str
    count: int
    length: int
    compute_dtype: str

    @property
    def name(self) -> str:
        """The cache's directory: 16 hexadecimal digits."""
        return hashlib.sha256(canonical_json(dataclasses.asdict(self)).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceCache:
    """An opened cache.

    Attributes:
      values: float32 [N, 2, T], memory-mapped; the chosen side at index 0.
    """

    values: np.ndarray

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """float32 [2 B, T]: the chosen sides of these pairs, then the rejected ones."""
        return np.ascontiguousarray(np.swapaxes(self.values[indices], 0, 1)).reshape(-1, self.values.shape[2])


def opened(root: pathlib.Path, key: Key) -> ReferenceCache | None:
    """The cache of a key, or None where there is none yet.

    Raises:
      DataError: the directory holds the values of another model or of other data, or is truncated.
    """
    path = root / key.name
    if not path.is_dir():
        return None
    remedy = "delete the directory; the values are computed anew"
    try:
        found = json.loads((path / _KEY).read_text())
        values = np.load(path / _VALUES, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"the reference cache {path} cannot be read ({error})", remedy) from error
    for field, expected in dataclasses.asdict(key).items():
        if found.get(field) != expected:
            raise DataError(
                f"the reference cache {path} is of another {field}: {found.get(field)!r} instead of {expected!r}",
                remedy,
            )
    if values.shape != (key.count, 2, key.length):
        raise DataError(f"the reference cache {path} has the shape {values.shape}", remedy)
    return ReferenceCache(values)


def computed(
    root: pathlib.Path, key: Key, log_probs: Callable[[np.ndarray], np.ndarray], batch_size: int
) -> ReferenceCache:
    """Computes a cache; it is written under a temporary name and renamed, so that a kill leaves none.

    Args:
      root: of all caches.
      key: of this one.
      log_probs: from indices [B] to float32 [2 B, T], the chosen sides before the rejected ones.
      batch_size: B.
    """
    # Processes of several machines may compute it at once, on one disk.
    partial = root / f"{key.name}.partial-{socket.gethostname()}-{os.getpid()}"
    partial.mkdir(parents=True, exist_ok=True)
    shape = (key.count, 2, key.length)
    values = np.lib.format.open_memmap(partial / _VALUES, mode="w+", dtype=np.float32, shape=shape)
    for indices, weights in covering(key.count, batch_size):
        both = np.swapaxes(log_probs(indices).reshape(2, batch_size, key.length), 0, 1)
        values[indices[weights > 0]] = both[weights > 0]
    values.flush()
    (partial / _KEY).write_text(json.dumps(dataclasses.asdict(key), indent=1))
    try:
        partial.rename(root / key.name)
    except OSError:
        # Another process was as quick, and computed the same; anything else is an error.
        if not (root / key.name).is_dir():
            raise
        shutil.rmtree(partial)
    return opened(root, key)
