"""What every verb shares: flags, one-line errors, exit codes.

A verb is a module with a `main(argv) -> None` and `verbs.run(main)` below it.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags, logging

from scaling import gin_files
from scaling.errors import EXIT_BAD_INPUT, PlumblineError, os_errors_as_bad_input

_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "A Gin file; repeatable, later files override earlier ones.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "One binding, NAME=value; --gin.NAME=value is the same and shorter."
)


def gin_file_flags() -> list[str]:
    """The values of --gin_file, in order."""
    return _GIN_FILE.value


def gin_binding_flags() -> list[str]:
    """The values of --gin.NAME=value, in order, as NAME=value."""
    return _GIN_BINDINGS.value


def share_compilations() -> None:
    """Keeps what JAX compiles on disk, so that the next process starts at once; to be called before JAX is imported."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(gin_files.PROJECT_ROOT / ".cache" / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def run(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Parses flags, runs `main` and exits with a code of :mod:`scaling.errors`."""
    logging.set_verbosity(logging.WARNING)
    app.run(lambda argv: sys.exit(_guarded(main, argv)), flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        with _help_is_no_failure():
            return flags.FLAGS(gin_files.command_line_bindings(argv))
    except flags.Error as error:
        print(f"error: {error}. Remedy: --help lists the flags.", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


@contextlib.contextmanager
def _help_is_no_failure() -> Iterator[None]:
    """absl prints --help while it parses, and then exits with 1."""
    try:
        yield
    except SystemExit:
        sys.exit(0)


def _guarded(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    try:
        if len(argv) > 1:
            print(f"error: unexpected argument {argv[1]!r}. Remedy: --help lists the flags.", file=sys.stderr)
            return EXIT_BAD_INPUT
        with os_errors_as_bad_input():
            main(argv)
        return 0
    except PlumblineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
