"""What the curve of a run and the journal of a stage share: rows in `metrics.jsonl` and in live mirrors, a clock of finished steps, the end of an attempt."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from scaling.errors import InterruptedRunError
from scaling.line_file import LineFile
from scaling.mirrors import live
from scaling.run_directory import Attempt, Status


class AttemptLog:
    """The rows, the clock and the end of one attempt.

    Attributes:
      mirrors: the services that are shown the rows.
      device_seconds: of the finished steps, compilation and pauses excluded; of a step that several runs took together, this run's share.
    """

    def __init__(self, attempt: Attempt, *, writes: bool = True, mirrors: live.LiveMirrors = live.NONE):
        """Starts the clock, and makes the file of rows.

        Args:
          attempt: just begun.
          writes: whether this process writes the attempt's files; of several that train one run, one does.
          mirrors: services of this attempt.
        """
        self.mirrors = mirrors
        self.device_seconds = 0.0
        self._attempt = attempt
        self._rows = LineFile(attempt.path / "metrics.jsonl") if writes else None
        self._started = time.monotonic()
        self._resumed_at: float | None = None
        self._timed_steps = 0
        self._timed_seconds = 0.0

    @property
    def steps_per_second(self) -> float:
        """Mean over the finished steps, compilation and pauses excluded; 0 before the second step."""
        return self._timed_steps / self._timed_seconds if self._timed_seconds else 0.0

    @property
    def steps_per_device_second(self) -> float:
        """What the device does: :attr:`steps_per_second`, of all runs together where several are trained side by side."""
        return self._timed_steps / self.device_seconds if self.device_seconds else 0.0

    @property
    def wall_seconds(self) -> float:
        """Since the attempt began."""
        return time.monotonic() - self._started

    def tick(self, share: float = 1.0) -> None:
        """Notes that a step has finished; the first after a pause starts the clock again.

        Args:
          share: of the step's seconds that count as this run's.
        """
        now = time.monotonic()
        if self._resumed_at is not None:
            self._timed_seconds += now - self._resumed_at
            self.device_seconds += share * (now - self._resumed_at)
            self._timed_steps += 1
        self._resumed_at = now

    def pause(self) -> None:
        """Keeps what follows (measuring, saving) out of the timing: the clock starts again at the next finished step."""
        self._resumed_at = None
        # A checkpoint continues the rows that lead to it, so they must be there before it is.
        self.flush()

    def flush(self) -> None:
        """Writes the rows that are still kept, as they are where the run lies in a bucket."""
        if self._rows is not None:
            self._rows.flush()

    def write_row(self, row: dict[str, Any]) -> None:
        """Appends a row and shows it to the mirrors; rows of one step are merged by readers."""
        if self._rows is None:
            return
        self._rows.append(json.dumps(row, allow_nan=False))
        self.mirrors.row(row)

    def finish(self, status: Status, reason: str = "") -> None:
        """Ends the attempt: the rows that are still kept, then `end.json`."""
        if self._rows is None:
            return
        self.flush()
        self._attempt.finish(status, reason=reason, wall_seconds=self.wall_seconds, device_seconds=self.device_seconds)

    @contextlib.contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """Inside the block an error ends the attempt as interrupted or failed, and the run at its mirrors, and goes on."""
        try:
            yield
        except BaseException as error:
            status = "interrupted" if isinstance(error, InterruptedRunError | KeyboardInterrupt) else "failed"
            # A full disk refuses these files too; the error that ended the run is the one to report.
            with contextlib.suppress(OSError):
                self.finish(status, str(error))
            self.mirrors.close({}, status)
            raise
