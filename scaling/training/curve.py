"""The training curve of an attempt: losses observed one step late, checked, averaged and written to `metrics.jsonl`."""

import math

import jax

from scaling.errors import DivergedError
from scaling.mirrors import live
from scaling.run_directory import Attempt
from scaling.training.attempt_log import AttemptLog
from scaling.training.step import StepMetrics

# A curve has at most about this many rows, whatever the length of the run.
_ROWS = 1000


class RunDivergedError(DivergedError):
    """The run cannot go on: a loss or a gradient was not finite, in it or in its trunk.

    Attributes:
      last_good_step: steps taken before that.
    """

    def __init__(self, message: str, last_good_step: int):
        super().__init__(message)
        self.last_good_step = last_good_step


class Curve(AttemptLog):
    """Observes steps in order and times only what the device has finished.

    Attributes:
      last_loss: of the last finished step.
    """

    def __init__(
        self,
        attempt: Attempt,
        first_step: int,
        last_step: int,
        batch_tokens: int,
        *,
        writes: bool = True,
        mirrors: live.LiveMirrors = live.NONE,
    ):
        """Opens the curve of an attempt that will take steps first_step .. last_step - 1.

        Of several processes that train one run all observe, and one writes; the services that mirror the run are shown what it writes.
        """
        super().__init__(attempt, writes=writes, mirrors=mirrors)
        self._row_every = max(1, (last_step - first_step) // _ROWS)
        self._last_step = last_step
        self._batch_tokens = batch_tokens
        self._losses: list[float] = []
        self.last_loss = math.nan

    @property
    def tokens_per_second(self) -> float:
        """The pace of this run: mean over the finished steps, compilation and pauses excluded; 0 before the second step."""
        return self.steps_per_second * self._batch_tokens

    @property
    def tokens_per_device_second(self) -> float:
        """What the device does: :attr:`tokens_per_second`, of all runs together where several are trained side by side."""
        return self.steps_per_device_second * self._batch_tokens

    def observe(self, step: int, metrics: StepMetrics, learning_rate: float, share: float = 1.0) -> None:
        """Waits for a dispatched step and notes it.

        Args:
          step: zero-based number of the step.
          metrics: still on the device.
          learning_rate: that the step used.
          share: of the step's seconds that count as this run's.

        Raises:
          RunDivergedError: the loss or the gradient is not finite.
        """
        loss, gradient_norm = (float(value) for value in jax.device_get(metrics))
        self.tick(share)
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise RunDivergedError(
                f"diverged after step {step}: loss {loss}, gradient norm {gradient_norm}; a lower ScheduleConfig.peak or a "
                "longer warm-up may help",
                step,
            )
        self.last_loss = loss
        self._losses.append(loss)
        done = step + 1
        if done % self._row_every == 0 or done == self._last_step:
            self._write_training_row(done, gradient_norm, learning_rate)

    def _write_training_row(self, done: int, gradient_norm: float, learning_rate: float) -> None:
        self.write_row(
            {
                "step": done,
                "tokens": done * self._batch_tokens,
                "loss": sum(self._losses) / len(self._losses),
                "steps": len(self._losses),
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate,
                "tokens_per_second": self.tokens_per_second,
                "device_seconds": self.device_seconds,
                "wall_seconds": self.wall_seconds,
            }
        )
        self._losses.clear()
