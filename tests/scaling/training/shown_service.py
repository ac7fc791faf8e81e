"""A tracking service for tests of live mirrors."""

import dataclasses
import threading


@dataclasses.dataclass
class Shown:
    """A service that keeps what it is shown, and fails or stalls where it is told to."""

    fails_at: frozenset[int] = frozenset()
    fails_at_close: bool = False
    gate: threading.Event | None = None
    rows: list = dataclasses.field(default_factory=list)
    ended: tuple = ()

    def row(self, step, measured, now):
        if self.gate is not None:
            self.gate.wait()
        if step in self.fails_at:
            raise ConnectionError(f"step {step}\nwas refused")
        self.rows.append((step, measured))

    def close(self, results, status):
        if self.fails_at_close:
            raise TimeoutError("no answer")
        self.ended = (results, status)
