"""What no table may hold, and what a reader must be warned of; both name the rows."""

import numpy as np
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables import quantities
from analysis.laws.tables.columns import COUNTS, REQUIRED
from analysis.laws.tables.found import Found

# 6·N·D leaves out attention and, by some counts, embeddings; a count of the same training stays within this factor of it.
FLOPS_FACTOR = 1.5
# A forward pass costs 2·N·D of the 6·N·D.
_FORWARD = 1.0 / 3.0
_NEAR = 0.1
# Beyond this factor a column is no count of training FLOPs at all (per token, per second, in PF-days).
_UNRELATED = 30.0
_DERIVED = 1e-9


def refuse_missing(frame: pd.DataFrame, found: Found) -> None:
    """Every required column must be there.

    Raises:
      TableError: naming what is missing and what there is.
    """
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        theirs = [str(name) for name in found.frame.columns]
        shown = ", ".join(theirs[:40]) + (f" and {len(theirs) - 40} more" if len(theirs) > 40 else "")
        remedy = "rename the columns to params, tokens, loss [flops, run_id, seed, family], or name yours by --columns=ours=theirs"
        if missing == ["tokens"] and "flops" in frame.columns:
            remedy += "; --derive=tokens computes them as flops / (6 params)"
        if "loss" in missing and (other := [name for name in theirs if _is_perplexity(name)]):
            remedy += f"; a perplexity is read by --columns=loss={other[0]} --loss_unit=perplexity"
        raise TableError(
            f"{found.source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {shown}", remedy
        )
    if frame.empty:
        raise TableError(f"{found.source} has no rows", "give a table with at least six runs")


def refuse_bad_cells(bad: dict[str, pd.Series], found_cells: pd.DataFrame, found: Found, required: bool) -> None:
    """One message for every column and row whose cell is not what it must be.

    Args:
      bad: by column, the rows in question.
      found_cells: the cells as they were found, under our names.
      found: for messages.
      required: whether the columns need a positive number in every row.

    Raises:
      TableError: there is a bad cell.
    """
    told = [
        f"the column {column} is not a {'positive ' * required}finite number in {found.rows(rows, found_cells[column])}"
        for column, rows in bad.items()
        if rows.any()
    ]
    if told:
        raise TableError(
            f"{found.source}: {'; '.join(told)}",
            "remove those rows, leave them out by --where, or add a column status that is not 'completed' for them"
            if required
            else "correct those cells, leave them empty, or rename the column",
        )


def refuse_repeated_ids(ids: pd.Series, found: Found) -> None:
    """A run_id stands for one row.

    Raises:
      TableError: naming the rows of the first id that repeats.
    """
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise TableError(
            f"{found.source}: the run_id {repeated[0]!r} stands in {_rows_of(ids == repeated[0])}"
            + (f", and {len(repeated) - 1} more ids repeat" if len(repeated) > 1 else ""),
            "give every row its own run_id; say which rows belong to one run in the column cluster",
        )


def copies(found: Found) -> pd.Series:
    """Rows that repeat an earlier row of the source in every column, bool by index."""
    # Cells of objects may be lists, which have no hash.
    hashable = {name: cells.astype(str) if cells.dtype == object else cells for name, cells in found.frame.items()}
    return pd.DataFrame(hashable, index=found.frame.index).duplicated()


def questions(frame: pd.DataFrame, checked: pd.Series, derived: pd.Series, found: Found) -> list[str]:
    """What a reader must be warned of, in words.

    Args:
      frame: our columns, float64; the loss in its final unit.
      checked: the rows of completed runs that repeat no other row.
      derived: the rows whose tokens were computed from FLOPs.
      found: for messages.
    """
    told = [quantities.in_words(name, frame.loc[checked, name]) for name in COUNTS if name in frame.columns]
    told.append(_twins(frame[checked], found))
    if "flops" in frame.columns:
        told += _against_6nd(frame, checked & ~derived, found)
    return [text for text in told if text]


def unrelated_flops(frame: pd.DataFrame, checked: pd.Series) -> list[str]:
    """Columns `flops_...` that cannot count the FLOPs of training these runs: FLOPs per token or per second, say."""
    six_nd = 6.0 * frame["params"] * frame["tokens"]
    names = [name for name in frame.columns if name.startswith("flops_")]
    ratios = {name: np.abs(np.log((frame[name] / six_nd)[checked & (frame[name] > 0)])).median() for name in names}
    return [name for name, ratio in ratios.items() if ratio > np.log(_UNRELATED)]


def _against_6nd(frame: pd.DataFrame, checked: pd.Series, found: Found) -> list[str]:
    ratio = (frame["flops"] / (6.0 * frame["params"] * frame["tokens"])).where(checked)
    told = []
    forward = np.abs(ratio / _FORWARD - 1.0) < _NEAR
    if forward.any():
        told.append(
            f"flops are a third of 6·N·D in {found.rows(forward, _rounded(ratio))}: they count the forward pass only (factor 3); "
            "say --units=flops=3, or leave the column out"
        )
    other = ~forward & (np.abs(np.log(ratio)) > np.log(FLOPS_FACTOR))
    if other.any():
        median = float(ratio[other].median())
        told.append(
            f"flops differ from 6·N·D by more than a factor {FLOPS_FACTOR} in {found.rows(other, _rounded(ratio))} "
            f"(the ratio in brackets, median {median:.3g})"
            + (": do all three columns count in ones (--units)?" if not 0.01 < median < 100 else "")
        )
    tokens = frame["tokens"].where(checked).dropna()
    if len(tokens) and (np.abs(ratio.dropna() - 1.0) < _DERIVED).all() and (tokens != np.round(tokens)).mean() > 0.5:
        told.append(
            "tokens are flops / (6 params) to the last digit and no whole numbers: they look derived from FLOPs, so what the FLOPs "
            "leave out or round is in them too"
        )
    return told


def _twins(frame: pd.DataFrame, found: Found) -> str | None:
    """Runs that nothing tells apart; with seeds they are replicates."""
    same = frame.duplicated(["params", "tokens", "loss"], keep=False) & frame["seed"].isna()
    if not same.any():
        return None
    return (
        f"params, tokens and loss are those of another row in {found.rows(same)}, and no seed tells them apart: if they are copies, "
        "each counts as a run of its own"
    )


def _rounded(ratio: pd.Series) -> pd.Series:
    return ratio.map(lambda value: f"{value:.3g}")


def _rows_of(where: pd.Series) -> str:
    numbers = [str(row + 1) for row in where.index[where]]
    return "rows " + ", ".join(numbers[:5]) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def _is_perplexity(name: str) -> bool:
    return any(word in name.lower() for word in ("ppl", "perplexity"))
