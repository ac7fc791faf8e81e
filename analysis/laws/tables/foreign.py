"""A table from elsewhere becomes the raw frame of :mod:`analysis.laws.tables.table`.

A raw frame has one row a run with the columns of :data:`analysis.laws.tables.columns.OURS`, but `params_<convention>` and
`flops_<convention>` for every convention that the source knows, and `loss_<domain>` with `loss_error_<domain>` for every domain.
What was recognised, what is questioned and the unit of the loss travel in its `attrs`, under the keys below.
"""

import numpy as np
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables import checkpoints, checks, columns, loss_units, quantities
from analysis.laws.tables.found import Found
from analysis.laws.tables.reading import PLAIN, Reading, keep

AS_GIVEN = "as_given"
# The convention of a file that says nothing more than `params` and `flops`.
SIX_ND = "6nd"
RECOGNISED, QUESTIONS, LOSS_UNIT = "recognised", "questions", "loss_unit"

_OPTIONAL_TEXTS = ("family", "reason", "role", "sweep_id", "schedule", "path")
_OPTIONAL_NUMBERS = (
    *columns.MEASURES, *columns.TIMES, *(name for name in columns.COUNTS if name not in ("params", "params_non_embedding", "tokens", "flops")),
)  # fmt: skip
# What schedulers and trackers call a run that ended as it should.
_COMPLETED = ("completed", "complete", "finished", "succeeded", "success", "done")
COPY = "repeats an earlier row in every column"


def to_raw(found: Found, reading: Reading = PLAIN) -> pd.DataFrame:
    """Understands a table.

    Raises:
      TableError: columns are missing, unknown or ambiguous, or cells are not what they must be; rows are named.
    """
    said, questions = list(found.recognised), list(found.questions)
    if reading.where:
        kept = keep(found.frame, reading.where, found.source)
        said.append(f"--where keeps {len(kept)} of {len(found.frame)} rows")
        found = _replaced(found, kept)
    repeated = found.frame.columns[found.frame.columns.duplicated()]
    if len(repeated):
        raise TableError(f"{found.source} has several columns {repeated[0]!r}", "give each its own name")
    recognised = columns.recognise(found.frame, reading.columns, found.source)
    said += recognised.said
    cells = columns.renamed(found.frame, recognised.mapping)
    if "tokens" not in cells.columns and "tokens" in reading.derive and "flops" in cells.columns:
        cells["tokens"] = np.nan
    checks.refuse_missing(cells, found)
    frame = _with_texts(cells, _copies(found, cells))
    completed = frame["status"] == "completed"
    frame, derived = _with_numbers(frame, cells, completed, reading, found)
    if derived.any():
        questions.append(_derived_tokens(derived))
    unrelated = checks.unrelated_flops(frame, completed)
    if unrelated:
        frame = frame.drop(columns=unrelated)
        questions.append(
            f"no counts of training FLOPs, so left out: {', '.join(unrelated)} (more than a factor 30 from 6·N·D)"
        )
    losses = loss_units.converted(frame, reading, completed, found)
    said += losses.said
    frame, numbered, unclear = checkpoints.named(losses.frame, recognised.mapping.get("name"))
    checks.refuse_repeated_ids(frame["run_id"], found)
    questions += (*numbered, *unclear, *losses.questions, *checks.questions(frame, completed, derived, found))
    if (copied := frame["reason"] == COPY).any():
        questions.append(f"left out, for they repeat an earlier row in every column: {found.rows(copied)}")
    raw = _in_conventions(frame).reset_index(drop=True)
    raw.attrs = {RECOGNISED: said, QUESTIONS: questions, LOSS_UNIT: losses.unit}
    return raw


def _replaced(found: Found, frame: pd.DataFrame) -> Found:
    return Found(frame, found.source, found.first_line, found.names)


def _copies(found: Found, cells: pd.DataFrame) -> pd.Series:
    """A repeated run_id is refused elsewhere, so rows with one are not looked at here."""
    return checks.copies(found) & ("run_id" not in cells.columns)


def _with_texts(cells: pd.DataFrame, copied: pd.Series) -> pd.DataFrame:
    """Gives every column of words its default, in empty cells too."""
    frame = cells.copy()
    if "status" in frame.columns:
        frame["status"] = [_status(cell) for cell in frame["status"]]
    defaults = dict.fromkeys(_OPTIONAL_TEXTS, "") | {"kind": "pretrain", "status": "completed"}
    for column, default in defaults.items():
        values = frame[column] if column in frame.columns else pd.Series(None, index=frame.index)
        frame[column] = values.astype(object).where(values.notna(), default).astype(str)
    frame.loc[copied, ["status", "reason"]] = ("a copy", COPY)
    return frame


def _status(cell: object) -> str:
    """A run that names no status, where others do, was not said to be completed."""
    if pd.isna(cell) is True:
        return "no status"
    return "completed" if str(cell).strip().lower() in _COMPLETED else str(cell).strip()


def _with_numbers(
    frame: pd.DataFrame, cells: pd.DataFrame, completed: pd.Series, reading: Reading, found: Found
) -> tuple[pd.DataFrame, pd.Series]:
    """Makes every column of numbers float64 and fills tokens if asked to; also which rows were filled."""
    frame = frame.copy()
    required = [name for name in ("params", "tokens", "loss", "flops", "params_non_embedding") if name in frame.columns]
    by_prefix = [name for name in frame.columns if name.startswith(columns.OPEN)]
    bad: dict[str, pd.Series] = {}
    for name in dict.fromkeys((*required, *_OPTIONAL_NUMBERS, *by_prefix)):
        if name not in frame.columns:
            frame[name] = np.nan
            continue
        count = name in columns.COUNTS or name.startswith(("flops_", "own_flops_"))
        frame[name], no_number = quantities.numbers(cells[name], suffixes=count)
        frame[name] *= _unit(name, cells[name], reading, found)
        bad[name] = no_number | np.isinf(frame[name])
    _refuse_needless_units(reading, frame, found)
    derived = pd.Series(False, frame.index)
    if "tokens" in reading.derive:
        derived = _derive_tokens(frame, cells, completed, found)
    for name in required:
        bad[name] = completed & ~(np.isfinite(frame[name]) & (frame[name] > 0))
    optional = {name: completed & rows for name, rows in bad.items() if name not in required}
    checks.refuse_bad_cells({name: bad[name] for name in required}, cells, found, required=True)
    checks.refuse_bad_cells(optional, cells, found, required=False)
    frame["epochs"] = frame["epochs"].fillna(frame["tokens"] / frame["unique_tokens"])
    return frame, derived


def _unit(name: str, cells: pd.Series, reading: Reading, found: Found) -> float:
    unit = reading.units.get(name, 1.0)
    if name in reading.units and (own := cells.map(quantities.suffixed)).any():
        raise TableError(
            f"{found.source}: --units={name}={unit:g} meets cells with a unit of their own in {found.rows(own, cells)}",
            f"leave out --units={name}",
        )
    return unit


def _refuse_needless_units(reading: Reading, frame: pd.DataFrame, found: Found) -> None:
    known = [name for name in frame.columns if name in columns.COUNTS or name.startswith(("flops_", "own_flops_"))]
    unknown = [name for name in reading.units if name not in known]
    if unknown:
        raise TableError(
            f"{found.source}: --units={unknown[0]} names no column that counts something",
            f"choose one of {', '.join(known)}",
        )


def _derive_tokens(frame: pd.DataFrame, cells: pd.DataFrame, completed: pd.Series, found: Found) -> pd.Series:
    """Fills empty cells of tokens by D = C/(6N), in place; which rows were filled."""
    if "flops" not in frame.columns:
        raise TableError(
            f"{found.source} has no column flops, which --derive=tokens needs",
            "name it by --columns=flops=..., or leave out --derive",
        )
    empty = cells["tokens"].isna()
    if not (empty & completed).any():
        raise TableError(f"{found.source} has tokens in every row", "leave out --derive=tokens")
    frame["tokens"] = frame["tokens"].where(~empty, frame["flops"] / (6.0 * frame["params"]))
    return empty


def _derived_tokens(derived: pd.Series) -> str:
    return (
        f"tokens are derived, D = C/(6N), in {int(derived.sum())} of {len(derived)} rows: they carry whatever C counts or rounds, "
        "and no check of C against 6·N·D is possible there"
    )


def _in_conventions(frame: pd.DataFrame) -> pd.DataFrame:
    """Names counts and losses by their convention or domain."""
    names = {
        "params": "params_total", "loss": f"loss_{AS_GIVEN}", "loss_standard_error": f"loss_error_{AS_GIVEN}", "flops": f"flops_{AS_GIVEN}",
    }  # fmt: skip
    # A table that was written from a raw frame may have both names.
    raw = frame.drop(columns=[name for name in names.values() if name in frame.columns]).rename(columns=names)
    raw["primary_domain"] = AS_GIVEN
    raw[f"flops_{SIX_ND}"] = 6.0 * raw["params_total"] * raw["tokens"]
    if "params_non_embedding" in raw.columns:
        raw["flops_kaplan_6nd_non_embedding"] = 6.0 * raw["params_non_embedding"] * raw["tokens"]
    for domain in [name.removeprefix("loss_") for name in raw.columns if loss_units.is_domain(name)]:
        if f"loss_error_{domain}" not in raw.columns:
            raw[f"loss_error_{domain}"] = np.nan
    return raw
