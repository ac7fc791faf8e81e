"""The progress line of a run: what was done, how fast, and how long the rest takes."""

import math
import sys
import time
from typing import TextIO


class ProgressLine:
    """Prints at most one line every few seconds; on a terminal the line is rewritten in place."""

    def __init__(
        self,
        label: str,
        total_tokens: int,
        stream: TextIO | None = None,
        every_seconds: float = 5.0,
        *,
        silent: bool = False,
    ):
        """Starts the clock.

        Args:
          label: names the run.
          total_tokens: tokens at which the run is finished.
          stream: where lines go; standard output by default.
          every_seconds: least time between lines.
          silent: prints nothing; for processes beside the one that speaks for the run.
        """
        self._silent = silent
        self._label = label
        self._total_tokens = total_tokens
        self._stream = stream or sys.stdout
        self._every_seconds = every_seconds
        self._last = time.monotonic()

    def show(self, tokens: int, loss: float, tokens_per_second: float, mfu: float | None, convention: str) -> None:
        """Prints the line if it is due.

        Args:
          tokens: seen so far.
          loss: of the last finished step, nats per token; not shown while none has finished (NaN).
          tokens_per_second: measured on finished steps.
          mfu: fraction of the peak, or None where the peak is unknown.
          convention: how FLOPs are counted for `mfu`.
        """
        now = time.monotonic()
        if self._silent or now - self._last < self._every_seconds:
            return
        self._last = now
        utilisation = f" | MFU {mfu:.1%} ({convention})" if mfu is not None else ""
        shown_loss = "" if math.isnan(loss) else f"loss {loss:.3f} nats | "
        left = (self._total_tokens - tokens) / tokens_per_second if tokens_per_second else float("nan")
        self._write(
            f"{self._label} | {tokens / self._total_tokens:4.0%} of {si(self._total_tokens)} tokens | {shown_loss}"
            f"{tokens_per_second:,.0f} tokens/s{utilisation} | {duration(left)} left"
        )

    def note(self, text: str) -> None:
        """Prints an event on a line of its own."""
        if self._silent:
            return
        print(f"{self._start()}{self._label} | {text}", file=self._stream, flush=True)

    def _write(self, line: str) -> None:
        end = "" if self._stream.isatty() else "\n"
        print(f"{self._start()}{line}", end=end, file=self._stream, flush=True)

    def _start(self) -> str:
        return "\r\x1b[K" if self._stream.isatty() else ""


def duration(seconds: float) -> str:
    """Seconds as 42s, 3m05s or 2h07m; "?" where they are not a number."""
    if seconds != seconds:
        return "?"
    whole = int(round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def si(count: float) -> str:
    """A count with an SI prefix and three digits: 1.23M."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # What rounds to a thousand of the smaller prefix is one of the larger.
        if count >= 0.9995 * factor:
            return f"{count / factor:.3g}{prefix}"
    return f"{count:.3g}"
