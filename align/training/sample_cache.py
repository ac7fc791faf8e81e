"""Batches of samples on disk: a long sampling job that is killed goes on with the batch that it was at."""

import io
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from etils import epath

from scaling.training.progress import duration


class SampleCache:
    """One file a batch, each written under a temporary name and renamed. A batch is a function of its number, so a file is as good as drawing again."""

    def __init__(self, directory: os.PathLike[str], batches: int, label: str):
        """Makes the directory if need be.

        Args:
          directory: of this job alone.
          batches: of the whole job, for the progress line.
          label: names it there.
        """
        self._directory, self._batches, self._label = epath.Path(directory), batches, label
        self._started, self._drawn, self._shown = time.monotonic(), 0, time.monotonic()
        self._directory.mkdir(parents=True, exist_ok=True)

    def get(self, number: int, draw: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The batch of a number, from disk or drawn now: arrays by name."""
        path = self._directory / f"{number:05d}.npz"
        if path.is_file():
            with np.load(io.BytesIO(path.read_bytes())) as arrays:
                return dict(arrays)
        batch = draw()
        partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
        # In memory first: an object of a bucket is written as a whole.
        content = io.BytesIO()
        np.savez(content, **batch)
        partial.write_bytes(content.getvalue())
        partial.replace(path)
        self._drawn += 1
        self._show(number + 1)
        return batch

    def _show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown < 5 and done < self._batches:
            return
        self._shown = now
        left = (self._batches - done) * (now - self._started) / self._drawn
        print(
            f"{self._label} | {done} of {self._batches} batches of samples | {duration(left)} left",
            file=sys.stdout,
            flush=True,
        )
