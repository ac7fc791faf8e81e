"""A file that grows by lines: on a disk, where every line is there at once, or in a bucket, where an object can only be replaced."""

import time

from etils import epath

from scaling.run_directory import is_remote

# An object may be replaced about once a second, and the program waits while it is.
_EVERY_SECONDS = 30.0


class LineFile:
    """Appends lines for one process.

    In a bucket they are kept, and the whole object is written every half minute and by :meth:`flush`; a kill loses those of the last half minute.
    """

    def __init__(self, path: epath.Path, every_seconds: float = _EVERY_SECONDS):
        """Makes the file if it is not there.

        Args:
          path: of this process alone.
          every_seconds: between writes in a bucket.
        """
        self._path = path
        self._every_seconds = every_seconds
        self._kept: list[str] | None = None
        self._written = 0
        self._last = time.monotonic()
        if is_remote(path):
            self._kept = path.read_text().splitlines(keepends=True) if path.exists() else []
            self._written = len(self._kept)
        else:
            path.touch()

    def append(self, line: str) -> None:
        """Adds a line, given without its end."""
        if self._kept is None:
            with self._path.open("a") as handle:
                handle.write(line + "\n")
            return
        self._kept.append(line + "\n")
        if time.monotonic() - self._last >= self._every_seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what is kept; to be called before anything is saved that stands on these lines."""
        if self._kept is not None and len(self._kept) > self._written:
            self._path.write_text("".join(self._kept))
            self._written = len(self._kept)
        self._last = time.monotonic()
