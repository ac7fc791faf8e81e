"""Claims: at most one process works on a run at a time, from before it starts its trainer.

A claim is an exclusive flock on ROOT/logs/claims/<run_id> that `launch.run_one` takes for all of its runs and keeps when it becomes their trainer.
So it lasts exactly as long as the trainer lives: whatever started that may be killed, the run is free only when the trainer has saved and left, and no
stale claim can ever block a run. The lock in a run's directory, which the trainer holds for the run that it is at, guards the files; the claim keeps
others from what it will come to next.
"""

import fcntl
import os
import pathlib
import time

# Whoever asks whether a run is claimed holds its lock for a moment.
_PATIENCE_SECONDS = 0.5


class Claim:
    """An exclusive hold on one run or slot, until it is closed by every process that has it."""

    def __init__(self, descriptor: int | None):
        """Wraps a locked file descriptor, made by :func:`try_claim`; None on object stores, where the heartbeat alone keeps others away."""
        self.descriptor = descriptor

    def survive_exec(self) -> None:
        """Keeps the claim for the program that this process becomes."""
        if self.descriptor is not None:
            os.set_inheritable(self.descriptor, True)

    def close(self) -> None:
        """Gives it back."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def try_claim(folder: pathlib.Path, name: str) -> Claim | None:
    """Claims a name in a folder, that of a run or of a slot, or returns None where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while not _try_flock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
    except OSError:
        os.close(descriptor)
        raise
    return Claim(descriptor)


def is_claimed(folder: pathlib.Path, name: str) -> bool:
    """Whether a process has that claim; looks through a shared lock, held for a moment."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
