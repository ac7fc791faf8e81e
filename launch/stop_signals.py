"""Signals that ask a driver to stop: counted, because the second one means it."""

import signal
from types import FrameType

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Counts SIGTERM, SIGINT and SIGHUP for the life of a `with` block, instead of letting them end the process.

    Attributes:
      count: how many came.
    """

    def __init__(self):
        """None came yet."""
        self.count = 0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        self._previous = {number: signal.signal(number, self._note) for number in _STOP_SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.count += 1
