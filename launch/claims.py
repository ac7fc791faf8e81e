"""Claims: at most one driver works on a run at a time.

A claim is an exclusive flock on ROOT/logs/claims/<run_id>, and the trainer inherits it. So it lasts exactly as long as the driver or its trainer
lives: kill -9 of the driver frees the run only when the trainer has saved and left, and no stale claim can ever block a run.
"""

import fcntl
import os
import pathlib


class Claim:
    """An exclusive hold on one run, until closed by the driver and by every process that inherited it."""

    def __init__(self, descriptor: int):
        """Wraps a locked file descriptor; made by :func:`try_claim`."""
        self.descriptor = descriptor

    def close(self) -> None:
        """Gives the run back."""
        os.close(self.descriptor)


def try_claim(folder: pathlib.Path, run_id: str) -> Claim | None:
    """Claims a run, or returns None where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / run_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return Claim(descriptor)
