"""Token stores too large for the device: batches read ahead of the step by Grain's threads."""

from collections.abc import Iterator

import grain

from scaling.data import batches
from scaling.data.batches import Batch
from scaling.data.store import Split


def prefetched_batches(
    split: Split,
    *,
    length: int,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_steps: int,
    isolate_documents: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
    buffer: int = 8,
) -> Iterator[Batch]:
    """Yields this host's share of the batches of steps start_step .. num_steps - 1, in order.

    Element k is `gather(split, host_share(window_indices(k, ...)))` whatever the threads do, so a resumed run reads
    exactly what an uninterrupted one would have, and nothing of the iterator is saved.

    Args:
      split: an opened split.
      length: T.
      batch_size: sequences of a step over all hosts.
      seed: of the order.
      start_step: the first step.
      num_steps: one past the last step.
      isolate_documents: see :func:`scaling.data.batches.gather`.
      process_index, process_count: which host this is.
      threads, buffer: Grain's reading threads and the batches that they keep ready.
    """
    num_windows = split.num_windows(length)

    def read(step: int) -> Batch:
        windows = batches.window_indices(step, batch_size, num_windows, seed)
        share = batches.host_share(windows, process_index, process_count)
        return batches.gather(split, share, length, isolate_documents)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    return iter(grain.MapDataset.range(start_step, num_steps).map(read).to_iter_dataset(options))
