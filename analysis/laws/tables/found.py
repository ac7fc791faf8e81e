"""A table as its source holds it, before its columns have our names."""

import dataclasses

import pandas as pd

# A message names this many rows and counts the rest.
SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Found:
    """Rows that were read and not yet understood.

    Attributes:
      frame: their columns and cells; the index counts the rows of the source from 0, and keeps doing so when rows are left out.
      source: what messages call it: a path, mostly.
      first_line: the line of the file that holds the first row, where every row is one line; None otherwise.
      names: the column that names a row in messages; None for its number, which counts from 1.
      recognised: what is to be said about how it was read.
      questions: what a reader must be warned of.
    """

    frame: pd.DataFrame
    source: str
    first_line: int | None = None
    names: str | None = None
    recognised: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()

    def rows(self, where: pd.Series, cells: pd.Series | None = None) -> str:
        """Names the rows where a condition holds: at most five, with their cells, and how many more there are.

        Args:
          where: bool, by index of `frame`.
          cells: what to show of each row; None shows nothing.
        """
        index = where.index[where]
        if cells is None and len(index) == len(self.frame) > SHOWN:
            return f"all {len(index)} rows"
        shown = ", ".join(self._row(row, None if cells is None else cells[row]) for row in index[:SHOWN])
        return shown + (f" and {len(index) - SHOWN} more" if len(index) > SHOWN else "")

    def _row(self, row: int, cell: object) -> str:
        label = f"row {row + 1}" if self.names is None else f"run {self.frame.at[row, self.names]}"
        inside = [] if cell is None else [str(cell)]
        if self.first_line is not None:
            inside.append(f"line {row + self.first_line}")
        return f"{label} ({', '.join(inside)})" if inside else label
