"""Errors that a person can act on, and the exit codes that scripts can rely on.

Every verb exits with one of these codes (the table of README.md):

======  ==========================================================
code    meaning
======  ==========================================================
0       done
1       failed (a fault of the program or of the machine)
2       bad usage, configuration or data: repeating it cannot help
70      the run diverged, and its record says so
75      interrupted and resumable: the same command continues
======  ==========================================================
"""

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
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


class OutputError(BadInputError):
    """An output directory that cannot be written."""


class DivergedError(PlumblineError):
    """Training produced a non-finite loss; the record is written before this is raised."""

    exit_code = EXIT_DIVERGED


class InterruptedRunError(PlumblineError):
    """Training stopped on a signal after saving; the same command continues it."""

    exit_code = EXIT_INTERRUPTED
