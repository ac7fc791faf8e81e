"""The journal of an attempt: metrics observed one step late, checked, averaged and written to `metrics.jsonl`."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import jax

from scaling.errors import DivergedError
from scaling.run_directory import Attempt

# A journal has at most about this many rows, whatever the length of the stage.
_ROWS = 500


class StageDivergedError(DivergedError):
    """A metric was not finite.

    Attributes:
      last_good_step: steps taken before that.
    """

    def __init__(self, message: str, last_good_step: int):
        super().__init__(message)
        self.last_good_step = last_good_step


class Journal:
    """Observes steps in order and times only what the device has finished."""

    def __init__(self, attempt: Attempt, first_step: int, last_step: int):
        """Opens the journal of an attempt that will take steps first_step .. last_step - 1."""
        self._path = attempt.path / "metrics.jsonl"
        self._path.touch()
        self._row_every = max(1, (last_step - first_step) // _ROWS)
        self._last_step = last_step
        self._started = time.monotonic()
        self._resumed_at: float | None = None
        self._timed_steps = 0
        self._sums: dict[str, float] = {}
        self._counted = 0
        self.device_seconds = 0.0
        self.last: dict[str, float] = {}

    @property
    def steps_per_second(self) -> float:
        """Mean over the finished steps, compilation and pauses excluded; 0 before the second step."""
        return self._timed_steps / self.device_seconds if self.device_seconds else 0.0

    @property
    def wall_seconds(self) -> float:
        """Since the attempt began."""
        return time.monotonic() - self._started

    def observe(self, step: int, metrics: Mapping[str, jax.Array], learning_rate: float) -> dict[str, float]:
        """Waits for a dispatched step, notes it and returns its metrics as numbers.

        Raises:
          StageDivergedError: one is not finite.
        """
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        self._tick()
        broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise StageDivergedError(
                f"diverged after step {step}: {', '.join(broken)}; a lower learning rate or a longer warm-up may help",
                step,
            )
        self.last = values
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._counted += 1
        done = step + 1
        if done % self._row_every == 0 or done == self._last_step:
            self._write_training_row(done, learning_rate)
        return values

    def pause(self) -> None:
        """Keeps what follows (measuring, saving) out of the timing."""
        self._resumed_at = None

    def write_row(self, row: dict[str, Any]) -> None:
        """Appends a row; rows of one step are merged by readers."""
        with self._path.open("a") as handle:
            handle.write(json.dumps(row, allow_nan=False) + "\n")

    def _tick(self) -> None:
        now = time.monotonic()
        if self._resumed_at is not None:
            self.device_seconds += now - self._resumed_at
            self._timed_steps += 1
        self._resumed_at = now

    def _write_training_row(self, done: int, learning_rate: float) -> None:
        means = {name: total / self._counted for name, total in self._sums.items()}
        self.write_row(
            {
                "step": done,
                "steps": self._counted,
                **means,
                "learning_rate": learning_rate,
                "steps_per_second": self.steps_per_second,
                "device_seconds": self.device_seconds,
                "wall_seconds": self.wall_seconds,
            }
        )
        self._sums.clear()
        self._counted = 0
