"""Errors that a person can act on, and the exit codes that scripts can rely on.

Every verb exits with one of these codes (the table of README.md):

======  ==========================================================
code    meaning
======  ==========================================================
0       done
1       failed (a fault of the program or of the machine)
2       bad usage, configuration or data: repeating it cannot help
3       done and written, but the law that the answers rest on cannot be trusted, and the output says why
70      the run diverged, and its record says so
75      interrupted and resumable: the same command continues
======  ==========================================================
"""

import contextlib
import errno
from collections.abc import Iterator

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_UNTRUSTED = 3
EXIT_DIVERGED = 70
EXIT_INTERRUPTED = 75


class PlumblineError(Exception):
    """Base of the errors that end a verb with one line and an exit code."""

    exit_code = EXIT_FAILED


class BadInputError(PlumblineError):
    """The user's input cannot be used.

    Args:
      what: what is wrong, naming the file and the field.
      remedy: what the user should do about it.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(self, what: str, remedy: str):
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}. Remedy: {self.remedy}."


class ConfigError(BadInputError):
    """A Gin file, a binding or a combination of values that cannot run."""


class DataError(BadInputError):
    """A corpus, vocabulary or token store that is missing, altered or unfit."""


class CheckpointError(BadInputError):
    """A checkpoint that does not belong to the run that asks for it."""


class UntrustedLawError(BadInputError):
    """Everything was written, and the law that allocations and forecasts rest on is no certified optimum, or not determined."""

    exit_code = EXIT_UNTRUSTED


class OutputError(BadInputError):
    """An output directory that cannot be written."""


# A full disk or a missing permission is the user's to mend, so it exits as bad input.
_ERRNOS_OF_THE_USER = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}


@contextlib.contextmanager
def os_errors_as_bad_input() -> Iterator[None]:
    """Turns what the operating system refuses, and the user can mend, into an :class:`OutputError`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ERRNOS_OF_THE_USER:
            raise
        # An input file without permission to read it comes here too.
        raise OutputError(
            f"cannot open or write {error.filename or 'the output'}: {error.strerror}",
            "choose a path that this user may open and that has room",
        ) from error


class DivergedError(PlumblineError):
    """Training produced a non-finite loss; the record is written before this is raised."""

    exit_code = EXIT_DIVERGED


class InterruptedRunError(PlumblineError):
    """Training stopped on a signal after saving; the same command continues it."""

    exit_code = EXIT_INTERRUPTED
