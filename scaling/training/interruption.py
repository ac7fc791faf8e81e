"""SIGTERM and SIGINT become a flag that is read at step boundaries."""

import signal
from types import FrameType


class Interruption:
    """Installs handlers for the life of a `with` block; the second signal of a kind acts as usual (kills)."""

    def __init__(self):
        """No signal was seen."""
        self.signal_name: str | None = None
        self._previous: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        """Whether the process was asked to stop."""
        return self.signal_name is not None

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal_name = signal.Signals(number).name
        signal.signal(number, self._previous[signal.Signals(number)])
