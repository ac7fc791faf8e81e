"""What a fault of one run means for the others that its process trains: a line, and nothing else."""

import sys
import traceback
from typing import Literal

from scaling.errors import BadInputError
from scaling.run_directory import BusyError, RunDirectory, Status

# What became of a run in this process; "bad_input": nothing but the user can make it run; "busy": another process trains it.
Outcome = Status | Literal["bad_input", "busy"]


def reported(directory: RunDirectory, error: Exception) -> Outcome:
    """Prints why a run failed, so that the others of its process can go on, and says what to call it."""
    if isinstance(error, BusyError):
        print(f"error: {error}", file=sys.stderr, flush=True)
        return "busy"
    if isinstance(error, BadInputError):
        print(f"error: {directory.path.name}: {error}", file=sys.stderr, flush=True)
        return "bad_input"
    trace = "".join(traceback.format_exception(error))
    print(f"error: {directory.path.name} failed:\n{trace}", file=sys.stderr, flush=True)
    return "failed"
