"""A keyed permutation of range(n) that is evaluated index by index, without a table."""

import dataclasses
import functools
import hashlib

import numpy as np

_ROUNDS = 8


@dataclasses.dataclass(frozen=True)
class KeyedPermutation:
    """A bijection of `range(size)`, chosen by `key`.

    A balanced Feistel network (Luby and Rackoff 1988) permutes the next power of four; values that fall outside
    `range(size)` are fed back until they fall inside (cycle walking: Black and Rogaway 2002), at most four times on
    average. It needs no memory and no state.

    Attributes:
      size: number of elements, at least 1.
      key: any integer or string; equal keys give equal permutations on every machine.
    """

    size: int
    key: int | str

    def __post_init__(self):
        """See the base class."""
        if not 1 <= self.size <= 2**62:
            raise ValueError(f"size must be between 1 and 2**62, not {self.size}")

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Maps indices in `range(size)`, int64 of any shape, to their places, int64 of the same shape."""
        indices = np.asarray(indices)
        if indices.size and (indices.min() < 0 or indices.max() >= self.size):
            raise IndexError(f"an index lies outside range({self.size})")
        values = self._feistel(indices.astype(np.uint64))
        outside = values >= self.size
        while outside.any():
            values[outside] = self._feistel(values[outside])
            outside = values >= self.size
        return values.astype(np.int64)

    def _feistel(self, values: np.ndarray) -> np.ndarray:
        half = np.uint64(self._half_bits)
        mask = np.uint64((1 << self._half_bits) - 1)
        left, right = values >> half, values & mask
        for round_key in self._round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        return (left << half) | right

    @functools.cached_property
    def _half_bits(self) -> int:
        return max(1, ((self.size - 1).bit_length() + 1) // 2)

    @functools.cached_property
    def _round_keys(self) -> np.ndarray:
        digest = hashlib.blake2b(str(self.key).encode(), digest_size=8 * _ROUNDS).digest()
        return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
