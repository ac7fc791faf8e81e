"""Reads what people have, by what it is: records, table files, MLflow stores, W&B exports and run directories."""

import re

import pandas as pd
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables import files, foreign, mlflow_stores, records, wandb_exports
from analysis.laws.tables.found import Found
from analysis.laws.tables.reading import PLAIN, Reading, keep

# A prefix of the address says what it is where that cannot be seen, or should be something else.
MLFLOW, WANDB = "mlflow:", "wandb:"
_TRACKING_URIS = ("sqlite:///", "file://", "file:")


def read(path: str, sweep: str | None = None, reading: Reading = PLAIN) -> pd.DataFrame:
    """Reads `path` by what it is, into a raw frame (:mod:`analysis.laws.tables.foreign`).

    Args:
      path: a directory of records (at any depth), an MLflow store or database, W&B run directories, or a file (.csv, .tsv, .parquet,
        .jsonl, .json), also of an object store; `mlflow:` or `wandb:` before it forces what it is.
      sweep: keeps the runs of one sweep, by its name or its id, or of one MLflow experiment; None keeps all.
      reading: how a table from elsewhere is to be understood.

    Raises:
      TableError: the path is missing, out of reach, empty, malformed or lacks columns; rows are named.
    """
    try:
        raw = _read_all(path, reading)
    except TableError:
        raise
    # Every client of an object store has its own exceptions; all of them mean that the address cannot be read.
    except Exception as error:
        if "://" not in path:
            raise
        message = " ".join(str(error).split())
        raise TableError(
            f"{path} cannot be read: {message}", "check the address, the network and your credentials"
        ) from error
    return raw if sweep is None else _of_sweep(raw, sweep, path)


def from_frame(frame: pd.DataFrame, source: str = "the table", reading: Reading = PLAIN) -> pd.DataFrame:
    """A raw frame from a user's table with `params, tokens, loss` [`flops, run_id, seed, family, cluster, ...`].

    Columns beyond these are kept; one named `loss_<domain>` is another loss to choose, `flops_<convention>` another count.

    Raises:
      TableError: naming the missing columns, or the rows (1 is the first data row) whose cells are not what they must be.
    """
    return foreign.to_raw(Found(frame.rename(columns=str).reset_index(drop=True), source), reading)


def sweep_name(sweep_id: str) -> str:
    """The name in a sweep's id: its hash changes whenever runs are added to the sweep."""
    return re.sub(r"-[0-9a-f]{8}$", "", sweep_id)


def _read_all(path: str, reading: Reading) -> pd.DataFrame:
    forced = next((prefix for prefix in (MLFLOW, WANDB) if path.startswith(prefix)), "")
    location = epath.Path(_without_scheme(path.removeprefix(forced)) if forced == MLFLOW else path.removeprefix(forced))
    if not location.exists():
        raise TableError(f"{location} does not exist", "give --runs a directory of runs or a table file")
    if not forced and location.is_dir() and (found := records.paths(location)):
        reading.refuse_for_records(path)
        raw = records.read(found)
        return keep(raw, reading.where, path).reset_index(drop=True) if reading.where else raw
    return foreign.to_raw(_found(location, forced), reading)


def _found(location: epath.Path, forced: str) -> Found:
    if forced == MLFLOW or (not forced and mlflow_stores.is_store(location)):
        return mlflow_stores.read(location)
    if location.is_dir():
        if forced == WANDB or wandb_exports.directories(location):
            return wandb_exports.read(location)
        raise TableError(
            f"{location} holds no record.json",
            "point --runs at the directory that a sweep wrote, or at an MLflow store or W&B run directories",
        )
    found = files.read(location)
    return wandb_exports.understood(found) if forced == WANDB or wandb_exports.is_export(found) else found


def _without_scheme(address: str) -> str:
    """A path on this machine from what MLFLOW_TRACKING_URI holds."""
    if address.startswith(("http://", "https://", "databricks")):
        raise TableError(
            f"{address} is a tracking server, and only stores on disk are read",
            "export its runs: mlflow.search_runs(search_all_experiments=True).to_csv('runs.csv')",
        )
    scheme = next((scheme for scheme in _TRACKING_URIS if address.startswith(scheme)), "")
    return address.removeprefix(scheme)


def _of_sweep(raw: pd.DataFrame, sweep: str, path: str) -> pd.DataFrame:
    names = raw["sweep_id"].map(sweep_name)
    kept = (names == sweep) | (raw["sweep_id"] == sweep)
    if not kept.any():
        known = ", ".join(sorted(set(names) - {""})) or "(none)"
        raise TableError(f"{path} holds no run of the sweep {sweep!r}", f"choose --sweep of {known}, or leave it out")
    return raw[kept].reset_index(drop=True)
