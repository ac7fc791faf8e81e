"""How a table from elsewhere is to be read: what its columns are called, what they count in, which rows are wanted."""

import dataclasses
import difflib
import operator
import re
from collections.abc import Mapping

import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables import quantities

LOSS_UNITS = ("nats", "bits", "nats_per_byte", "bits_per_byte", "perplexity")
DERIVABLE = ("tokens",)
_COMPARISONS = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
# What trackers put before the names that people gave: W&B, its API and mlflow.search_runs.
_PREFIX = re.compile(r"(config|summary|summary_metrics|params|metrics|tags)\.")


@dataclasses.dataclass(frozen=True)
class Condition:
    """`column operator value`: the rows where it holds are kept.

    Several `=` on one column keep the rows where any of them holds; conditions on different columns must all hold.
    """

    column: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Reads `column=value`, or another comparison: != < <= > >=.

        Raises:
          TableError: there is no comparison in it, or one of size with what is no number.
        """
        match = re.fullmatch(r"\s*(.+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", text)
        if match is None:
            raise TableError(f"--where={text} holds no comparison", "write COLUMN=VALUE, or one of != < <= > >=")
        condition = cls(*match.groups())
        if condition.comparison in ("<", "<=", ">", ">=") and quantities.number(condition.value) is None:
            raise TableError(f"--where={text} compares with {condition.value!r}, which is no number", "give a number")
        return condition

    def holds(self, cells: pd.Series) -> pd.Series:
        """Which cells fulfil it; as numbers if both sides are, as text otherwise (then only = and != can hold)."""
        wanted = quantities.number(self.value)
        compare = _COMPARISONS[self.comparison]
        found, no_number = quantities.numbers(cells)
        as_numbers = ~no_number & cells.notna() & (wanted is not None)
        as_text = (
            compare(cells.astype(str), self.value) if self.comparison in ("=", "!=") else pd.Series(False, cells.index)
        )
        return compare(found, 0.0 if wanted is None else wanted).where(as_numbers, as_text)

    def __str__(self) -> str:
        """As it was written."""
        return f"{self.column}{self.comparison}{self.value}"


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a user says about a table from elsewhere; nothing of it is needed for one with our names and nats per token.

    Attributes:
      columns: ours -> theirs. Theirs may leave out the prefix of a tracker (`config.`, `summary.`, `params.`, `metrics.`, `tags.`).
      units: ours -> what one of theirs is worth, e.g. 1e6 where parameters are in millions.
      derive: what to compute where it is missing; `tokens` is D = C/(6N).
      loss_unit: of every loss column, one of :data:`LOSS_UNITS`; None takes nats per token and questions it.
      bytes_per_token: of the tokenizer, for losses per byte; None takes the column `bytes_per_token`, if there is one.
      where: which rows are wanted, in the names and units of the source.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    units: Mapping[str, float] = dataclasses.field(default_factory=dict)
    derive: tuple[str, ...] = ()
    loss_unit: str | None = None
    bytes_per_token: float | None = None
    where: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what no table can fulfil; which columns there are is known to :mod:`analysis.laws.tables.columns`."""
        if self.loss_unit not in (None, *LOSS_UNITS):
            raise TableError(f"--loss_unit={self.loss_unit} is unknown", f"choose one of {', '.join(LOSS_UNITS)}")
        unknown = sorted(set(self.derive) - set(DERIVABLE))
        if unknown:
            raise TableError(f"--derive={unknown[0]} is not known", f"choose {', '.join(DERIVABLE)}")
        if self.bytes_per_token is not None and not self.bytes_per_token > 0:
            raise TableError(f"--bytes_per_token={self.bytes_per_token} is not positive", "give bytes per token")
        if self.bytes_per_token is not None and "per_byte" not in (self.loss_unit or ""):
            raise TableError(
                "--bytes_per_token is only of use for a loss per byte",
                "add --loss_unit=bits_per_byte or nats_per_byte, or leave it out",
            )

    def refuse_for_records(self, source: str) -> None:
        """Records say themselves what they hold.

        Raises:
          TableError: something other than `where` was given.
        """
        given = {
            "--columns": self.columns, "--units": self.units, "--derive": self.derive, "--loss_unit": self.loss_unit,
            "--bytes_per_token": self.bytes_per_token,
        }  # fmt: skip
        needless = [flag for flag, value in given.items() if value]
        if needless:
            raise TableError(
                f"{source} holds records, which name their own columns and units", f"leave out {', '.join(needless)}"
            )


# Of a table with our names whose losses are nats per token.
PLAIN = Reading()


def bare(column: str) -> str:
    """A column's name without the prefix of a tracker."""
    return _PREFIX.sub("", column, count=1) if _PREFIX.match(column) else column


def lookup(frame: pd.DataFrame, theirs: str, source: str, flag: str) -> str:
    """The column that a flag means, by its whole name or by its name without a tracker's prefix.

    Raises:
      TableError: there is no such column, or there are several; similar names are listed.
    """
    names = [str(name) for name in frame.columns]
    if theirs in names:
        return theirs
    found = [name for name in names if bare(name) == theirs]
    if len(found) == 1:
        return found[0]
    if found:
        raise TableError(f"{source}: {flag} could be {' or '.join(found)}", "give the whole name")
    near = difflib.get_close_matches(theirs, names, n=3, cutoff=0.5) or names
    raise TableError(f"{source} has no column {theirs!r}, which {flag} names", f"choose one like {', '.join(near)}")


def keep(frame: pd.DataFrame, conditions: tuple[Condition, ...], source: str) -> pd.DataFrame:
    """The rows that fulfil the conditions, with their index.

    Raises:
      TableError: a column is unknown, or no row is left.
    """
    kept = pd.Series(True, frame.index)
    by_column: dict[str, list[Condition]] = {}
    for condition in conditions:
        column = lookup(frame, condition.column, source, f"--where={condition}")
        by_column.setdefault(column, []).append(condition)
    for column, of_column in by_column.items():
        equal = [item.holds(frame[column]) for item in of_column if item.comparison == "="]
        kept &= pd.concat(equal, axis=1).any(axis=1) if equal else True
        for item in of_column:
            kept &= item.holds(frame[column]) if item.comparison != "=" else True
    if not kept.any():
        told = "; ".join(f"{name} is {_values(frame[name])}" for name in by_column)
        raise TableError(
            f"{source}: no row fulfils --where={','.join(map(str, conditions))}", f"choose other values: {told}"
        )
    return frame[kept]


def _values(cells: pd.Series) -> str:
    distinct = [str(value) for value in cells.unique()]
    return ", ".join(distinct[:8]) + (f" and {len(distinct) - 8} more" if len(distinct) > 8 else "")
