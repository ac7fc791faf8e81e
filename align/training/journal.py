"""The journal of an attempt: metrics observed one step late, checked, averaged and written to `metrics.jsonl`."""

import math
from collections.abc import Mapping

import jax

from scaling.errors import DivergedError
from scaling.mirrors import live
from scaling.run_directory import Attempt
from scaling.training.attempt_log import AttemptLog

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


class Journal(AttemptLog):
    """Observes steps in order and times only what the device has finished.

    Attributes:
      last: metrics of the last finished step.
    """

    def __init__(self, attempt: Attempt, first_step: int, last_step: int, mirrors: live.LiveMirrors = live.NONE):
        """Opens the journal of an attempt that will take steps first_step .. last_step - 1; `mirrors` are shown its rows."""
        super().__init__(attempt, mirrors=mirrors)
        self._row_every = max(1, (last_step - first_step) // _ROWS)
        self._last_step = last_step
        self._sums: dict[str, float] = {}
        self._counted = 0
        self.last: dict[str, float] = {}

    def observe(self, step: int, metrics: Mapping[str, jax.Array], learning_rate: float) -> dict[str, float]:
        """Waits for a dispatched step, notes it and returns its metrics as numbers.

        Raises:
          StageDivergedError: one is not finite.
        """
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        self.tick()
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
