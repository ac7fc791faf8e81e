"""One line that says how far a preparation is."""

import sys
import time
from typing import TextIO


class Progress:
    """Prints documents, tokens, speed and the time left, every second on a terminal and every ten elsewhere.

    Args:
      name: what is being written.
      documents: how many are expected, 0 when unknown.
      tokens: how many are wanted at most, 0 when there is no limit.
      stream: where to print; a terminal gets one line that is overwritten.
    """

    def __init__(self, name: str, documents: int, tokens: int = 0, stream: TextIO = sys.stderr):
        self._name = name
        self._expected_documents = documents
        self._wanted_tokens = tokens
        self._stream = stream
        self._period = 1.0 if stream.isatty() else 10.0
        self._start = self._printed = time.monotonic()
        self._documents = self._tokens = 0

    def add(self, tokens: int) -> None:
        """Counts a document."""
        self._documents += 1
        self._tokens += tokens
        if time.monotonic() - self._printed >= self._period:
            self._printed = time.monotonic()
            self._print()

    def close(self) -> None:
        """Ends the line on a terminal."""
        if self._printed > self._start and self._stream.isatty():
            self._stream.write("\n")

    def fraction(self) -> float | None:
        """How much is done: by documents or by tokens, whichever is nearer to its end; None when neither is known."""
        parts = [
            done / total
            for done, total in ((self._documents, self._expected_documents), (self._tokens, self._wanted_tokens))
            if total
        ]
        return min(1.0, max(parts)) if parts else None

    def _print(self) -> None:
        elapsed = time.monotonic() - self._start
        fraction = self.fraction()
        left = f", {100 * fraction:.0f}%, {elapsed * (1 - fraction) / fraction:.0f} s left" if fraction else ""
        done = f"{self._documents:,} documents, {self._tokens:,} tokens, {self._tokens / elapsed:,.0f} tokens/s"
        line = f"{self._name}: {done}{left}"
        self._stream.write(f"\r\x1b[K{line}" if self._stream.isatty() else f"{line}\n")
        self._stream.flush()
