"""A file of lines on a disk that behaves as an object in a bucket does: lines are kept until they are asked for."""

from scaling.line_file import LineFile


class KeptLines(LineFile):
    """Takes the place of :class:`LineFile` where a bucket is meant."""

    def __init__(self, path):
        super().__init__(path)
        self._kept = []
        self._every_seconds = 1e9
