"""The progress line of a stage."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from align.training.stage import Stage
from scaling.training.progress import duration

if TYPE_CHECKING:
    from align.training.journal import Journal


class StageProgress:
    """Prints at most one line every few seconds, and events on lines of their own."""

    def __init__(self, label: str, stage: Stage, stream: TextIO | None = None, every_seconds: float = 5.0):
        """Starts the clock."""
        self._label = label
        self._stage = stage
        self._stream = stream or sys.stdout
        self._every_seconds = every_seconds
        self._last = time.monotonic()

    def show(self, done: int, journal: "Journal") -> None:
        """Prints the line if it is due."""
        now = time.monotonic()
        if now - self._last < self._every_seconds:
            return
        self._last = now
        stage, speed = self._stage, journal.steps_per_second
        left = duration((stage.steps - done) / speed if speed else float("nan"))
        shown = "".join(f"{name} {journal.last[name]:.3f} | " for name in ("loss",) if name in journal.last)
        print(
            f"{self._label} | {done / stage.steps:4.0%} of {stage.steps} steps | {shown}"
            f"{speed * stage.units_per_step:,.1f} {stage.unit}/s | {left} left",
            file=self._stream,
            flush=True,
        )

    def note(self, text: str) -> None:
        """Prints an event."""
        print(f"{self._label} | {text}", file=self._stream, flush=True)
