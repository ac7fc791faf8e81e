"""The least loss that an evaluation can measure on a process: what it counts, and what a window of T tokens hides.

An evaluation that isolates documents (:func:`scaling.data.batches.from_rows`) counts every token as a target, the EOS included,
except the first of each document. It reads the split in windows of T inputs that are cut without regard to documents, and a
target is predicted from the tokens of its own document inside its own window. So even the true process, known exactly, scores
more than its entropy at the first places of a window, where the beginning of the document is out of sight:

    floor(T) = plateau + excess(T) / T,    excess(T) = sum over i <= T of (F_i - plateau)

F_i is the mean conditional entropy of the counted targets at place i of a window given what is visible there, and the plateau is
its limit: a window that hides nothing. Windows cut the text at a stationary place, so F_i is the same for every window.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Entropy(NamedTuple):
    """Nats per token with the standard error (of a sample) or the numerical tolerance (of a computation)."""

    nats: float
    error: float


@dataclasses.dataclass(frozen=True)
class Floor:
    """The least expected loss of any model, by the length of the evaluation's windows.

    Attributes:
      plateau: nats per counted token, nothing hidden.
      plateau_error: of `plateau`.
      excess: `excess(T)` in nats per window for T = 1, 2, ...; it is constant past the last.
      excess_errors: of `excess`; as many.
    """

    plateau: float
    plateau_error: float
    excess: tuple[float, ...]
    excess_errors: tuple[float, ...]

    def at(self, length: int) -> Entropy:
        """The floor of windows of `length` tokens; errors add up, since they may be of one sample.

        Raises:
          ValueError: the length is below 1.
        """
        if length < 1:
            raise ValueError(f"a window of {length} tokens has no target")
        last = min(length, len(self.excess)) - 1
        return Entropy(
            self.plateau + self.excess[last] / length, self.plateau_error + self.excess_errors[last] / length
        )

    def to_json(self) -> dict[str, Any]:
        """The fields that a store's manifest records."""
        return {
            "entropy_nats_per_token": self.plateau,
            "entropy_error": self.plateau_error,
            "excess_nats_by_window": list(self.excess),
            "excess_errors": list(self.excess_errors),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Floor":
        """The inverse of :meth:`to_json`; raises KeyError for a missing field."""
        return cls(
            values["entropy_nats_per_token"],
            values["entropy_error"],
            tuple(values["excess_nats_by_window"]),
            tuple(values["excess_errors"]),
        )


def of_positions(by_position: np.ndarray, plateau: float, tolerance: float) -> Floor:
    """The floor of a computed F_1 ... F_n, float64 [n], that is `plateau` from n + 1 on."""
    excess = np.cumsum(np.asarray(by_position) - plateau)
    errors = tolerance * np.arange(1, len(excess) + 1)
    return Floor(float(plateau), tolerance, tuple(excess.tolist()), tuple(errors.tolist()))


def binary_entropy(probability: float) -> float:
    """-p ln p - (1 - p) ln(1 - p) for 0 < p < 1."""
    return float(-probability * np.log(probability) - (1 - probability) * np.log1p(-probability))


def entropies(probabilities: np.ndarray) -> np.ndarray:
    """-sum p ln p over the last axis, 0 ln 0 being 0; float64 [...] of [..., V]."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return -np.sum(probabilities * logs, axis=-1)
