"""What a loss is counted in: converted to nats per token where that is possible, and questioned where it looks like something else.

A perplexity is exp(nats per token); a bit is ln 2 nats; a loss per byte becomes one per token by the bytes that a token
of the run's own tokenizer holds on average.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables.found import Found
from analysis.laws.tables.reading import Reading

NATS_PER_TOKEN = "nats per token"
# The best models published reach 0.55 to 0.6 bits per byte of prose, and tokens of usual vocabularies hold 4 bytes and more, so that few
# runs are below 1.6 nats per token and hardly any below 1.2 (0.43 bits per byte); in bits per byte most are.
LOW_NATS, LEAST_NATS = 1.6, 1.2
_BYTES_PER_TOKEN = 4.0
# The loss of a guess among exp(13) = 442 thousand tokens, more than any usual vocabulary has.
HIGH_NATS = 13.0


class _Unit(NamedTuple):
    """A unit of loss.

    Attributes:
      nats: nats per token or per byte that one is worth; NaN for a perplexity.
      per_byte: whether it counts bytes.
      largest: what a uniform guess costs, in this unit.
      in_words: its name.
    """

    nats: float
    per_byte: bool
    largest: float
    in_words: str


_UNITS = {
    "nats": _Unit(1.0, False, HIGH_NATS, NATS_PER_TOKEN),
    "bits": _Unit(math.log(2.0), False, HIGH_NATS / math.log(2.0), "bits per token"),
    "nats_per_byte": _Unit(1.0, True, math.log(256.0), "nats per byte"),
    "bits_per_byte": _Unit(math.log(2.0), True, 8.0, "bits per byte"),
    "perplexity": _Unit(math.nan, False, math.exp(HIGH_NATS), "perplexity"),
}


@dataclasses.dataclass(frozen=True)
class Converted:
    """A table whose losses are in one unit.

    Attributes:
      frame: with the converted columns.
      unit: in words; :data:`NATS_PER_TOKEN`, unless a loss per byte had to stay one.
      said: what was done.
      questions: what a reader must be warned of.
    """

    frame: pd.DataFrame
    unit: str
    said: tuple[str, ...]
    questions: tuple[str, ...]


def converted(frame: pd.DataFrame, reading: Reading, checked: pd.Series, found: Found) -> Converted:
    """Converts every loss and its standard error to nats per token, or leaves them per byte and says so.

    Args:
      frame: our columns, float64.
      reading: with `loss_unit` and `bytes_per_token`.
      checked: which rows are those of completed runs.
      found: for messages.

    Raises:
      TableError: a perplexity is below one, or bytes per token are missing in some rows only.
    """
    unit = _UNITS[reading.loss_unit or "nats"]
    questions = _questions(frame["loss"], checked, reading.loss_unit, found)
    if unit.in_words == NATS_PER_TOKEN:
        return Converted(frame, NATS_PER_TOKEN, (), questions)
    columns = {name: _error_column(name) for name in frame.columns if name == "loss" or is_domain(name)}
    if reading.loss_unit == "perplexity":
        return Converted(
            _from_perplexity(frame, columns, checked, found),
            NATS_PER_TOKEN,
            (f"losses were perplexities, and are {NATS_PER_TOKEN} now",),
            questions,
        )
    factor: float | pd.Series = unit.nats
    how = f"{unit.nats:.6g} nats a bit" if unit.nats < 1.0 else ""
    if unit.per_byte:
        bytes_per_token = _bytes_per_token(frame, reading, checked, found)
        if bytes_per_token is None:
            stays = (
                f"losses stay in {unit.in_words}: E, A, B and every forecast are in {unit.in_words}, not in {NATS_PER_TOKEN} "
                "(a column bytes_per_token or --bytes_per_token converts them)"
            )
            return Converted(frame, unit.in_words, (), (*questions, stays))
        factor, how = unit.nats * bytes_per_token, " and ".join(filter(None, (how, "the bytes of a token")))
    errors = [name for name in columns.values() if name in frame.columns]
    scaled = frame.assign(**{name: factor * frame[name] for name in (*columns, *errors)})
    return Converted(
        scaled, NATS_PER_TOKEN, (f"losses were {unit.in_words}, and are {NATS_PER_TOKEN} now, by {how}",), questions
    )


def _from_perplexity(frame: pd.DataFrame, columns: dict[str, str], checked: pd.Series, found: Found) -> pd.DataFrame:
    changed = {}
    for name, error in columns.items():
        below = checked & (frame[name] < 1.0)
        if below.any():
            raise TableError(
                f"{found.source}: the column {name} is below 1 in {found.rows(below, frame[name])}, which no perplexity is",
                "leave out --loss_unit=perplexity, or correct those cells",
            )
        # Rows of runs that did not complete may hold anything.
        changed[name] = np.log(frame[name].where(frame[name] > 0))
        if error in frame.columns:
            changed[error] = frame[error] / frame[name]
    return frame.assign(**changed)


def _bytes_per_token(
    frame: pd.DataFrame, reading: Reading, checked: pd.Series, found: Found
) -> float | pd.Series | None:
    if reading.bytes_per_token is not None:
        return reading.bytes_per_token
    values = frame["bytes_per_token"]
    missing = checked & ~(values > 0)
    if missing[checked].all():
        return None
    if missing.any():
        raise TableError(
            f"{found.source}: the column bytes_per_token is not a positive number in {found.rows(missing, values)}",
            "fill those cells, or give one number by --bytes_per_token",
        )
    return values


def is_domain(column: str) -> bool:
    """Whether a column holds a loss on a domain, `loss_<domain>`, and not an error of one."""
    return column.startswith("loss_") and not column.startswith("loss_error_") and column != "loss_standard_error"


def _error_column(loss: str) -> str:
    return "loss_standard_error" if loss == "loss" else "loss_error_" + loss.removeprefix("loss_")


def _questions(losses: pd.Series, checked: pd.Series, unit: str | None, found: Found) -> tuple[str, ...]:
    known, told = losses[checked].dropna(), _UNITS[unit or "nats"]
    if known.empty:
        return ()
    span = f"{known.min():.4g} to {known.max():.4g}"
    if unit is None and (known.max() < LOW_NATS or known.min() < LEAST_NATS):
        bits = known.min() / (_BYTES_PER_TOKEN * math.log(2.0))
        return (
            f"losses of {span} look like bits or nats per byte: at {_BYTES_PER_TOKEN:.0f} bytes a token the lowest would be {bits:.2f} bits per "
            "byte, which few models reach; say --loss_unit=bits_per_byte or nats_per_byte, or --loss_unit=nats if it is right",
        )
    high = checked & (losses > told.largest)
    if unit == "perplexity" and known.max() < HIGH_NATS:
        return (f"every perplexity is below {HIGH_NATS:.0f} ({span}): that looks like a loss in nats per token",)
    if high.sum() > len(known) / 2:
        other = "perplexity; say --loss_unit=perplexity if it is" if not told.per_byte else "another unit"
        return (
            f"most losses ({int(high.sum())} of {len(known)}, {span}) are above {told.largest:.4g} {told.in_words}, more than a guess "
            f"among any usual vocabulary costs: that looks like {other}",
        )
    if high.any():
        return (
            f"the loss is above {told.largest:.4g} {told.in_words}, more than a guess among any usual vocabulary costs, in "
            f"{found.rows(high, losses)}: did these runs diverge?",
        )
    return ()
