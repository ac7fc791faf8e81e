"""Several short examples in one row, for supervised fine-tuning: no token is lost and few slots are left empty.

Each example is a segment: attention stays inside it, positions restart, and only the completion's tokens count. So the loss of a packed
row is the sum of the losses of its examples.
"""

import bisect
import dataclasses

import numpy as np

from align.data.rows import Examples
from scaling.data.batches import Batch
from scaling.data.permutation import KeyedPermutation
from scaling.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class PackedExamples:
    """A split of kind "dialogue" in rows of T slots; a row's examples never change, the order of rows is `batches.rows`'s.

    Attributes:
      examples: the split.
      length: T, slots of a row.
      members: the examples of each row.
    """

    examples: Examples
    length: int
    members: tuple[tuple[int, ...], ...]

    @property
    def num_rows(self) -> int:
        """Rows that hold every example once."""
        return len(self.members)

    @property
    def fill(self) -> float:
        """Fraction of the slots that hold a token."""
        return float(_slots(self.examples).sum()) / (self.num_rows * self.length)

    def gather(self, rows: np.ndarray) -> Batch:
        """The batch of some rows.

        Args:
          rows: int [B], each below `num_rows`.

        Returns:
          Arrays [B, T]; `loss_mask` is 1 where the target is a token of a completion, EOS included.
        """
        shape = (len(rows), self.length)
        batch = Batch(*(np.zeros(shape, np.int32) for _ in range(4)), np.zeros(shape, np.float32))
        for number, row in enumerate(rows):
            first = 0
            for segment, index in enumerate(self.members[row], start=1):
                first = _place(batch, number, first, segment, self.examples, index)
        return batch


def pack(examples: Examples, length: int, seed: int = 0) -> PackedExamples:
    """Distributes examples over rows by best fit decreasing: the longest first, each into the fullest row that has room.

    Best fit decreasing leaves at most about a ninth more rows than the best packing does (Johnson 1974), and on texts hardly any slot empty (Ding
    et al. 2024, "Fewer Truncations Improve Language Modeling", section 3).

    Args:
      examples: a split of kind "dialogue".
      length: T.
      seed: decides which examples of equal length share a row.

    Raises:
      DataError: the examples have another number of completions than one, or one is longer than a row.
    """
    if examples.num_completions != 1:
        raise DataError(
            f"{examples.source} has {examples.num_completions} completions per example",
            "name a store of kind 'dialogue' for supervised fine-tuning",
        )
    slots_N = _slots(examples)
    over = np.flatnonzero(slots_N > length)
    if len(over):
        names = ", ".join(examples.names[i] for i in over[:3])
        raise DataError(
            f"{examples.source}: {len(over)} examples need more than {length} slots, the longest {slots_N.max()} ({names})",
            "raise the row length, or prepare the examples with a smaller EncodingConfig",
        )
    shuffled = KeyedPermutation(len(examples), f"packing/{seed}")(np.arange(len(examples)))
    order = shuffled[np.argsort(-slots_N[shuffled], kind="stable")]
    return PackedExamples(examples, length, _best_fit(order, slots_N, length))


def _slots(examples: Examples) -> np.ndarray:
    """Inputs of each example: all tokens but the last, which is a target only."""
    return examples.prompt_lengths + examples.completion_lengths[:, 0] - 1


def _best_fit(order: np.ndarray, slots_N: np.ndarray, length: int) -> tuple[tuple[int, ...], ...]:
    members: list[list[int]] = []
    rows_by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # Sorted keys of rows_by_room.
    for index in order.tolist():
        need = int(slots_N[index])
        place = bisect.bisect_left(rooms, need)
        if place < len(rooms):
            room = rooms[place]
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                del rows_by_room[room], rooms[place]
        else:
            room, row = length, len(members)
            members.append([])
        members[row].append(index)
        left = room - need
        if left not in rows_by_room:
            bisect.insort(rooms, left)
            rows_by_room[left] = []
        rows_by_room[left].append(row)
    return tuple(map(tuple, members))


def _place(batch: Batch, number: int, first: int, segment: int, examples: Examples, index: int) -> int:
    """Writes one example into a row from slot `first` on, and returns the slot after it."""
    prompt, completion = examples.prompt(index), examples.completion(index)
    row = np.concatenate([prompt, completion])
    place = np.s_[number, first : first + len(row) - 1]
    batch.tokens[place] = row[:-1]
    batch.targets[place] = row[1:]
    batch.segment_ids[place] = segment
    batch.positions[place] = np.arange(len(row) - 1)
    batch.loss_mask[place] = np.arange(1, len(row)) >= len(prompt)
    return first + len(row) - 1
