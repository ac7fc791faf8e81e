"""Examples in files of the user's own: JSON lines (.jsonl, .jsonl.gz) or .csv, one example a row."""

import csv
import dataclasses
import functools
import gzip
import json
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

from align.data.examples import TextExample
from align.data.sources.ratings import SPLITS
from align.data.sources.row_layouts import Layout, example_of, layout_of
from align.data.sources.source import TextSource, hashed_split
from scaling.data.manifested import sha256_of_file
from scaling.errors import DataError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")


@dataclasses.dataclass(frozen=True)
class ExampleFiles(TextSource):
    """Rows of one layout, told by the fields of the first row that has one.

    =====================  ==============================================================================================
    fields                 meaning
    =====================  ==============================================================================================
    prompt                 a prompt to sample from
    prompt, completion     a dialogue; optionally score
    prompt, chosen,        a pair; optionally chosen_score, rejected_score, margin
    rejected
    chosen, rejected       two whole dialogues as Anthropic publishes its comparisons (see `comparisons`); options as above
    prompt, completions    K completions, best first, or with their scores, by which they are sorted (in a CSV file both are JSON lists)
    =====================  ==============================================================================================

    Every row may have a `name`. Text is taken as it is: where the first word of a completion should be a word of its own, the completion begins with a space.

    Attributes:
      files: rows that are divided by a hash of their prompt, so that no prompt is in two splits; a split with files of its own takes none of
        them.
      validation_files, test_files: rows of those splits, where the data come divided.
      held_out: share of `files` that each split without files of its own receives.
    """

    files: tuple[str, ...]
    validation_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    held_out: float = 0.05
    kind: Literal["files"] = "files"

    def __post_init__(self):
        """See the base class."""
        self._require(bool(self.files), "files", "name at least one file")
        self._require(0 <= self.held_out < 0.5, "held_out", "give a share from 0 to below 0.5")

    @property
    def num_completions(self) -> int:
        """See the base class."""
        return self._layout.num_completions

    @functools.cached_property
    def splits(self) -> tuple[str, ...]:
        """See the base class."""
        return tuple(split for split in SPLITS if next(self.examples(split), None) is not None)

    def check(self) -> None:
        """See the base class."""
        for file in self._all_files:
            if not file.name.endswith(_SUFFIXES):
                raise DataError(f"{file} has an unknown kind of name", f"name files that end in {', '.join(_SUFFIXES)}")
            if not file.is_file():
                raise DataError(f"the file {file} does not exist", "correct the path in ExampleFiles")
        _ = self._layout

    def request(self) -> dict[str, Any]:
        """See the base class: files enter by their content."""
        return {**super().request(), **{field: _hashes(getattr(self, field)) for field in _FILE_FIELDS}}

    def manifest(self) -> dict[str, Any]:
        """See the base class."""
        hashes = {str(file): sha256_of_file(file) for file in self._all_files}
        return {"name": ", ".join(hashes), "files": hashes, "licence": "the user's own"}

    def examples(self, split: str) -> Iterator[TextExample]:
        """See the base class."""
        own = {"validation": self.validation_files, "test": self.test_files}.get(split, ())
        for file in map(pathlib.Path, own):
            yield from self._read(file)
        if not own:
            for file in map(pathlib.Path, self.files):
                yield from (example for example in self._read(file) if self._split_of(example) == split)

    def _split_of(self, example: TextExample) -> str:
        split = hashed_split(f"prompt/{example.prompt}", self.held_out)
        has_files = {"validation": self.validation_files, "test": self.test_files}.get(split)
        return "train" if has_files else split

    @property
    def _all_files(self) -> list[pathlib.Path]:
        return [pathlib.Path(file) for field in _FILE_FIELDS for file in getattr(self, field)]

    @functools.cached_property
    def _layout(self) -> Layout:
        """The layout of the first row that has one.

        Raises:
          DataError: no row has one.
        """
        seen: Any = None
        for file in map(pathlib.Path, self.files):
            for _, row in _rows(file):
                layout = layout_of(row)
                if layout:
                    return layout
                seen = seen or (sorted(map(str, row)) if isinstance(row, dict) else row)
        raise DataError(
            f"no row of {', '.join(self.files)} has the fields of an example (the first has {seen})",
            "give prompt; prompt, completion; prompt, chosen, rejected; chosen, rejected; or prompt, completions",
        )

    def _read(self, file: pathlib.Path) -> Iterator[TextExample]:
        for number, row in _rows(file):
            yield example_of(row, self._layout, f"{file.name}:{number}")


_FILE_FIELDS = ("files", "validation_files", "test_files")


def _hashes(files: tuple[str, ...]) -> list[str]:
    return [sha256_of_file(pathlib.Path(file)) for file in files]


def _rows(file: pathlib.Path) -> Iterator[tuple[int, Any]]:
    """Line numbers and rows; a line that is no JSON is a row of its text."""
    opened = gzip.open if file.name.endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8", newline="") as lines:
            if ".csv" in file.suffixes:
                reader = csv.DictReader(lines)
                yield from ((reader.line_num, row) for row in reader)
            else:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield number, _json(line)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        raise DataError(
            f"{file} cannot be read ({error})", "write it as UTF-8, whole, compressed only if its name ends in .gz"
        ) from error


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line
