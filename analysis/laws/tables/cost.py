"""What the runs of a table cost together, and what they would have cost without sharing trunks."""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.result import finite
from analysis.laws.tables.table import RunsTable

_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class StudyCost:
    """Sums over every run that was read, the held-out and the excluded ones included; NaN for what no run records.

    Attributes:
      runs: how many.
      own_flops: of the steps that were computed, trunks counted once.
      alone_flops: had every run that is not a trunk been trained from its first step.
      device_seconds, wall_seconds: of training, as recorded.
      unrecorded: runs that say nothing of their own FLOPs, and so are missing in `own_flops`.
    """

    runs: int
    own_flops: float
    alone_flops: float
    device_seconds: float
    wall_seconds: float
    unrecorded: int

    def in_words(self, convention: str) -> str:
        """The sums as sentences; `convention` is that of the FLOPs."""
        text = f"All {self.runs} runs together"
        if math.isfinite(self.own_flops):
            text += (
                f" cost {_count(self.own_flops)} FLOPs ({convention}); each trained alone they would have cost {_count(self.alone_flops)}, "
                f"{self.alone_flops / self.own_flops:.3g} times as much"
            )
            text += f" ({self.unrecorded} runs do not say what they added)" if self.unrecorded else ""
        else:
            text += f" would have cost {_count(self.alone_flops)} FLOPs ({convention}), each trained alone; what they really cost is not recorded"
        times = [
            f"{_duration(seconds)} of {kind} time"
            for seconds, kind in ((self.device_seconds, "device"), (self.wall_seconds, "wall"))
            if math.isfinite(seconds)
        ]
        return f"{text}. {'Training took ' + ' and '.join(times) if times else 'No training time is recorded'}."

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values, null for what is unknown."""
        return {
            name: finite(value) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(self).items()
        }


def cost_of_study(table: RunsTable) -> StudyCost:
    """Adds up a table's runs, in FLOPs of its convention."""
    raw, convention = table.raw, table.conventions.flops
    own = _numbers(table, f"own_flops_{convention}")
    results = (raw["kind"] != "trunk").to_numpy()
    return StudyCost(
        len(raw), _sum(own), _sum(_numbers(table, f"flops_{convention}")[results]), _sum(_numbers(table, "device_seconds")),
        _sum(_numbers(table, "wall_seconds")), int(np.isnan(own).sum()),
    )  # fmt: skip


def _numbers(table: RunsTable, column: str) -> npt.NDArray[np.float64]:
    if column not in table.raw.columns:
        return np.full(len(table.raw), math.nan)
    return table.raw[column].to_numpy(np.float64)


def _count(flops: float) -> str:
    return f"{flops:.3g}".replace("e+", "e")


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < _HOUR else f"{seconds / _HOUR:.3g} h"


def _sum(values: npt.NDArray[np.float64]) -> float:
    return float(np.nansum(values)) if np.isfinite(values).any() else math.nan
