"""A batch is a pure function of (seed, step): a keyed permutation of windows over the token store.

There is no iterator, so nothing has to be saved: any host computes its share of any step.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scaling.data.permutation import KeyedPermutation
from scaling.data.store import Split


class Batch(NamedTuple):
    """Sequences for a next-token model; every array is [B, T].

    Attributes:
      tokens: int32, the inputs.
      targets: int32, the next tokens.
      segment_ids: int32, documents inside a sequence, counted from 1; 0 is padding. Attention stays inside a segment.
      positions: int32, from 0 at the start of the sequence and of each document in it.
      loss_mask: float32, 1 where the target counts.
    """

    tokens: np.ndarray
    targets: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    loss_mask: np.ndarray


class EvaluationBatch(NamedTuple):
    """A batch of held-out text.

    Attributes:
      batch: the sequences; the last ones may be padding (segment 0, mask 0).
      documents: int32 [B, T], index in the split of the document that each target belongs to; -1 on padding.
    """

    batch: Batch
    documents: np.ndarray


def window_indices(step: int, batch_size: int, num_windows: int, seed: int) -> np.ndarray:
    """The windows of one step.

    Position p = step * batch_size + i lies in epoch p // num_windows; inside an epoch every window occurs once, in an
    order drawn by (seed, epoch).

    Args:
      step: from 0.
      batch_size: B, sequences over all hosts.
      num_windows: `Split.num_windows(length)`.
      seed: of the order.

    Returns:
      int64 [B].
    """
    positions = step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs, offsets = np.divmod(positions, num_windows)
    windows = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        windows[chosen] = KeyedPermutation(num_windows, f"windows/{seed}/{epoch}")(offsets[chosen])
    return windows


def host_share(windows: np.ndarray, process_index: int, process_count: int) -> np.ndarray:
    """The contiguous part of a step's windows that one host reads, [B / process_count].

    Raises:
      ValueError: the batch does not divide among the hosts.
    """
    if len(windows) % process_count:
        raise ValueError(f"a batch of {len(windows)} does not divide among {process_count} hosts")
    share = len(windows) // process_count
    return windows[process_index * share : (process_index + 1) * share]


def gather(split: Split, windows: np.ndarray, length: int, isolate_documents: bool = True) -> Batch:
    """Reads windows; window w covers tokens [w * T, w * T + T] of the split, its last token being a target only.

    Args:
      split: an opened split.
      windows: int [B], each below `split.num_windows(length)`.
      length: T.
      isolate_documents: separate documents by segment, position and mask: the target after an EOS (the first token of
        the next document) does not count.
    """
    starts = np.asarray(windows, dtype=np.int64)[:, None] * length
    rows = split.tokens[starts + np.arange(length + 1)[None, :]].astype(np.int32)
    return from_rows(rows, split.eos_id, isolate_documents)


def from_rows(rows: np.ndarray, eos_id: int, isolate_documents: bool) -> Batch:
    """Makes a batch of rows of consecutive tokens, int32 [B, T + 1]; see :func:`gather`."""
    tokens, targets = rows[:, :-1], rows[:, 1:]
    offsets = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32)[None, :], tokens.shape)
    if not isolate_documents:
        ones = np.ones(tokens.shape, np.int32)
        return Batch(tokens, targets, ones, offsets, ones.astype(np.float32))
    ends = tokens == eos_id
    starts = np.concatenate([np.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1)
    segment_ids = 1 + np.cumsum(starts, axis=1, dtype=np.int32)
    last_start = np.maximum.accumulate(np.where(starts, offsets, 0), axis=1)
    return Batch(tokens, targets, segment_ids, (offsets - last_start).astype(np.int32), (~ends).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """How a split is read for evaluation: in order, no token twice, the last window and batch padded.

    Attributes:
      length: T.
      batch_size: B.
      num_tokens: of the split.
      num_windows: windows of T targets that are read, spread evenly over all of the split.
    """

    length: int
    batch_size: int
    num_tokens: int
    num_windows: int

    @property
    def num_batches(self) -> int:
        """Batches."""
        return -(-self.num_windows // self.batch_size)

    def windows(self, number: int) -> np.ndarray:
        """Windows of one batch, int64 [B]; those past the last one lie behind the split."""
        all_windows = _covering_windows(self.num_tokens, self.length)
        ordinals = number * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        return np.where(ordinals < self.num_windows, ordinals * all_windows // self.num_windows, all_windows)


def evaluation_plan(split: Split, length: int, batch_size: int, max_tokens: int = 0) -> EvaluationPlan:
    """Plans the evaluation of a split: all of it, or `max_tokens` tokens in whole windows (at least one).

    The windows of a part are spread evenly, so that every long document counts: the first tokens of a split may come from very few, and the
    standard error is one over documents.

    Raises:
      DataError: the split is shorter than two tokens.
    """
    split.num_windows(1)
    windows = _covering_windows(split.num_tokens, length)
    wanted = max(1, max_tokens // length) if max_tokens else windows
    return EvaluationPlan(length, batch_size, split.num_tokens, min(wanted, windows))


def _covering_windows(num_tokens: int, length: int) -> int:
    """Windows that hold at least one target."""
    return -(-(num_tokens - 1) // length)


def evaluation_batches(split: Split, plan: EvaluationPlan, isolate_documents: bool = True) -> Iterator[EvaluationBatch]:
    """Yields `plan.num_batches` batches of equal shape, in the order of the text."""
    for number in range(plan.num_batches):
        yield evaluation_batch(split, plan, number, isolate_documents)


def evaluation_batch(
    split: Split, plan: EvaluationPlan, number: int, isolate_documents: bool = True
) -> EvaluationBatch:
    """One batch of :func:`evaluation_batches`; a pure function of its number, so hosts can share the work."""
    places = plan.windows(number)[:, None] * plan.length + np.arange(plan.length + 1, dtype=np.int64)[None, :]
    inside = places < plan.num_tokens
    rows = np.where(inside, split.tokens[np.minimum(places, plan.num_tokens - 1)], 0).astype(np.int32)
    batch = from_rows(rows, split.eos_id, isolate_documents)
    real = inside[:, 1:]  # An input counts only together with its target.
    padded = Batch(
        tokens=np.where(real, batch.tokens, 0),
        targets=np.where(real, batch.targets, 0),
        segment_ids=np.where(real, batch.segment_ids, 0),
        positions=np.where(real, batch.positions, 0),
        loss_mask=np.where(real, batch.loss_mask, np.float32(0)),
    )
    documents = np.searchsorted(split.document_starts, places[:, 1:], side="right") - 1
    return EvaluationBatch(padded, np.where(real, documents, -1).astype(np.int32))
