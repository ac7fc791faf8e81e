"""Rows that are checkpoints of one run: numbered, and told apart from runs of their own.

Checkpoints of one run share its seed, its data order and its trajectory, so they are one cluster: an interval that takes
them for independent runs is too narrow.
"""

import re

import numpy as np
import pandas as pd

# Columns of names that stand for one training run each; a plain `name` may as well be that of a size.
_OF_A_RUN = ("run_name", "run", "display_name")


def named(frame: pd.DataFrame, theirs: str | None) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Gives every row a run_id and a cluster.

    Rows are checkpoints of one run if they share a run_id, or the name of a run, have one size, and differ in tokens. They are
    called `name@step`, or `name@tokens` without steps, and are clustered by the name unless there is a column cluster.

    Args:
      frame: our columns, numbers converted; `run_id`, `name` and `cluster` are missing, or empty in some cells.
      theirs: what the column `name` was called; None without one.

    Returns:
      The frame with `run_id`, `name` and `cluster` in every row, what is to be said and what is to be questioned.
    """
    frame = frame.copy()
    given = "run_id" in frame.columns and frame["run_id"].notna().any()
    key = "run_id" if given else "name"
    said: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    if key in frame.columns and frame[key].dropna().duplicated().any():
        runs = frame[key].astype(object).where(frame[key].notna(), _row_names(frame))
        if _are_checkpoints(frame, runs):
            if given or _has_steps(frame) or _plain(theirs) in _OF_A_RUN:
                frame, said = _numbered(frame, runs, key)
            elif "cluster" not in frame.columns:
                questions = (_unclear(runs, theirs),)
    elif not given and key in frame.columns and frame[key].notna().all():
        frame["run_id"] = frame[key].astype(str)
    _fill(frame, "run_id", _row_names(frame))
    _fill(frame, "name", frame["run_id"])
    _fill(frame, "cluster", frame["run_id"])
    return frame, said, questions


def _are_checkpoints(frame: pd.DataFrame, runs: pd.Series) -> bool:
    """Whether all rows that share a name have one size, and no two of them as many tokens."""
    repeated = runs.duplicated(keep=False)
    groups = frame[repeated].groupby(runs[repeated], sort=False)
    one_size = (groups["params"].nunique(dropna=False) == 1).all()
    distinct = (groups["tokens"].nunique() == groups.size()).all()
    return bool(one_size and distinct)


def _has_steps(frame: pd.DataFrame) -> bool:
    return "step" in frame.columns and bool(frame["step"].notna().all())


def _numbered(frame: pd.DataFrame, runs: pd.Series, key: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    by = "step" if _has_steps(frame) else "tokens"
    ids = runs.astype(str) + "@" + frame[by].map(_whole)
    counts = runs.value_counts()
    said = f"{len(frame)} rows are checkpoints of {len(counts)} runs, {counts.min()} to {counts.max()} each: they are called {key}@{by}"
    if "cluster" not in frame.columns:
        said += f" and clustered by {key}, for the checkpoints of one run are not independent"
        frame = frame.assign(cluster=runs.astype(str))
    return frame.assign(run_id=ids, name=runs.astype(str) if key == "name" else frame.get("name", runs)), (said,)


def _unclear(runs: pd.Series, theirs: str | None) -> str:
    counts = runs.value_counts()
    return (
        f"{int((counts > 1).sum())} names stand in several rows of one size with different tokens, up to {counts.max()} times: if they are "
        f"checkpoints of one run, say --cluster={theirs}; now each row is a run of its own"
    )


def _fill(frame: pd.DataFrame, column: str, default: pd.Series) -> None:
    cells = frame[column] if column in frame.columns else pd.Series(None, index=frame.index)
    frame[column] = cells.astype(object).where(cells.notna(), default).astype(str)


def _row_names(frame: pd.DataFrame) -> pd.Series:
    return pd.Series([f"row {row + 1}" for row in frame.index], index=frame.index, dtype=object)


def _whole(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) and value == round(value) else f"{value:.6g}"


def _plain(name: str | None) -> str:
    return re.sub(r"[^a-z0-9]+", "_", (name or "").lower()).strip("_")
