"""Which examples a step reads: a pure function of (seed, step), so that there is no iterator to save."""

from collections.abc import Iterator

import numpy as np

from scaling.data.batches import window_indices


def rows(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
    """The examples of one step: every example once an epoch, in an order drawn by (seed, epoch).

    A batch may reach over the end of an epoch; no example is skipped.

    Args:
      seed: of the order.
      step: from 0.
      batch_size: B.
      num_examples: N.

    Returns:
      int64 [B].
    """
    return window_indices(step, batch_size, num_examples, seed)


def covering(num_examples: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches that read every example once, in order, all of one shape.

    Yields:
      Indices int64 [B], and float32 [B] weights: 0 where the last batch repeats its last example to be full.
    """
    for first in range(0, num_examples, batch_size):
        indices = first + np.arange(batch_size)
        yield np.minimum(indices, num_examples - 1), (indices < num_examples).astype(np.float32)
