"""How long training takes: from completed runs where there are any, else from a stated guess."""

import bisect
import dataclasses
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from etils import epath

# The guess, for one pinned CPU core: matmuls at a fifth of the 110 GFLOP/s that one core reaches at best, and 10 microseconds a token for what
# does not shrink with the model (dispatch, softmax, embedding). Any completed run replaces it.
DEFAULT_FLOPS_PER_SECOND = 2.0e10
DEFAULT_SECONDS_PER_TOKEN = 1.0e-5

# Import of JAX, restoring, tracing and compiling from a warm cache, paid by each trainer process.
STARTUP_SECONDS = 8.0


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds of training per token, by model size.

    Attributes:
      flops_per_second: what is assumed where nothing was measured.
      measured: (parameters, seconds per token) of completed runs, by increasing parameters.
    """

    flops_per_second: float = DEFAULT_FLOPS_PER_SECOND
    measured: tuple[tuple[int, float], ...] = ()

    def seconds_per_token(self, parameters: int, flops_per_token: float) -> float:
        """Measured for this size, interpolated in log-log between two measured sizes, scaled by FLOPs beyond them, or assumed."""
        if not self.measured:
            return flops_per_token / self.flops_per_second + DEFAULT_SECONDS_PER_TOKEN
        sizes = [size for size, _ in self.measured]
        i = bisect.bisect_left(sizes, parameters)
        if i == len(sizes):
            size, seconds = self.measured[-1]
            return seconds * parameters / size
        if i == 0 or sizes[i] == parameters:
            # Below the smallest measured size the fixed cost of a token dominates.
            return self.measured[i][1]
        (low, low_seconds), (high, high_seconds) = self.measured[i - 1], self.measured[i]
        share = math.log(parameters / low) / math.log(high / low)
        return math.exp((1 - share) * math.log(low_seconds) + share * math.log(high_seconds))

    def describe(self) -> str:
        """Where the predictions come from, for the plan."""
        if self.measured:
            return f"measured on completed runs of {len(self.measured)} sizes in this root"
        return f"assumed: {self.flops_per_second:.3g} FLOP/s a slot; --flops_per_second changes it"


def rates_of(root: str, flops_per_second: float | None) -> Rates:
    """The rates that the records of a root show.

    Args:
      root: a directory of run directories; it need not exist.
      flops_per_second: what to assume instead, whatever was measured.
    """
    if flops_per_second is not None:
        return Rates(flops_per_second)
    measured = list(_measured(root))
    if not measured:
        return Rates()
    # Records of another kind of device say nothing about this one; the newest were made here.
    device = max(measured, key=lambda one: one.created).device
    by_size: dict[int, list[float]] = defaultdict(list)
    for one in measured:
        if one.device == device:
            by_size[one.parameters].append(one.seconds_per_token)
    return Rates(measured=tuple((size, statistics.median(by_size[size])) for size in sorted(by_size)))


@dataclasses.dataclass(frozen=True)
class _Measured:
    parameters: int
    seconds_per_token: float
    device: tuple[Any, ...]
    created: str


def _measured(root: str) -> Iterator[_Measured]:
    """What the completed records of a root show. Whatever else is called record.json there is passed over: this is but an estimate."""
    folder = epath.Path(root)
    for path in folder.iterdir() if folder.exists() else ():
        try:
            found = _measured_by(json.loads((path / "record.json").read_text()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            continue
        if found is not None:
            yield found


def _measured_by(record: dict[str, Any]) -> _Measured | None:
    if record["status"] != "completed":
        return None
    own_tokens = record["tokens"] * record["own_flops"]["6nd"] / record["flops"]["6nd"]
    # Device seconds leave out compiling, evaluation and saving, which do not grow with the tokens.
    seconds_per_token = float(record["device_seconds"] / own_tokens)
    parameters = int(record["parameters"]["total"])
    if not (0 < seconds_per_token < math.inf and parameters > 0):
        return None
    return _Measured(parameters, seconds_per_token, _device_kind(record), str(record["created"]))


def _device_kind(record: dict[str, Any]) -> tuple[Any, ...]:
    """The device and how much of it: one core is not two."""
    device = record["device"]
    return device["kind"], device["count"], device.get("cores")
