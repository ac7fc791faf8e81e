"""Reads MLflow tracking stores without MLflow: the directory `mlruns` of the file store, or an SQLite database.

Columns are those of `mlflow.search_runs`: `params.KEY`, `metrics.KEY` (the last value logged) and `tags.KEY`. Deleted runs and
experiments are left out, as MLflow leaves them out. Layouts: https://mlflow.org/docs/latest/self-hosting/architecture/backend-store
"""

import contextlib
import math
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pandas as pd
import yaml
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables.found import Found

META = "meta.yaml"
DATABASE = "mlflow.db"
_MAGIC = b"SQLite format 3\x00"
# RunStatus of MLflow's protocol, as meta.yaml holds it.
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_ACTIVE = "active"
_REMEDY = "restore it, or remove the run"
# The one in C is ten times as fast; a store holds a file a run.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LARGEST_FLOAT = 1.7976931348623157e308


def is_store(location: epath.Path) -> bool:
    """Whether there is a file store or a database: `mlruns`, the directory that holds it, one experiment, or a file of SQLite."""
    if not location.is_dir():
        with location.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    return _database(location) is not None or bool(_experiments(location))


def read(location: epath.Path) -> Found:
    """One row a run.

    Raises:
      TableError: there is no store, it is damaged, or it holds no run.
    """
    database = location if location.is_file() else _database(location)
    if database is not None:
        rows, kind = _of_database(database), "database"
    else:
        experiments = _experiments(location)
        if not experiments:
            raise TableError(f"{location} is no MLflow store", f"give the directory mlruns, or the database {DATABASE}")
        rows, kind = [row for path in experiments for row in _of_experiment(path)], "file store"
    if not rows:
        raise TableError(f"{location} holds no MLflow run", "log the runs first, or restore deleted ones")
    said = f"an MLflow {kind}: {len(rows)} runs of {', '.join(sorted({row['sweep_id'] for row in rows}))}"
    return Found(pd.DataFrame(rows), str(location), names="run_id", recognised=(said,))


def _row(run_id: str, name: str | None, status: str, experiment: str) -> dict[str, Any]:
    """MLflow's experiments are to its runs what sweeps are to ours."""
    reason = "" if status == "FINISHED" else "as MLflow says"
    return {"run_id": run_id, "name": name or run_id, "status": status, "reason": reason, "sweep_id": experiment}


def _database(directory: epath.Path) -> epath.Path | None:
    path = directory / DATABASE
    return path if path.exists() else None


def _experiments(location: epath.Path) -> list[epath.Path]:
    """Directories of experiments: `location` itself, its children, or those of `mlruns` in it."""
    if (location / META).exists():
        return [location]
    inner = location / "mlruns"
    store = inner if inner.is_dir() else location
    return sorted(path for path in store.iterdir() if path.name != ".trash" and (path / META).exists())


def _of_experiment(directory: epath.Path) -> Iterator[dict[str, Any]]:
    experiment = _meta(directory)
    if experiment.get("lifecycle_stage", _ACTIVE) != _ACTIVE:
        return
    name = str(experiment.get("name") or directory.name)
    for path in sorted(directory.iterdir()):
        meta = _meta(path) if (path / META).exists() else {}
        # Beside runs, an experiment may hold models and traces.
        if not {"run_id", "run_uuid"} & set(meta) or meta.get("lifecycle_stage", _ACTIVE) != _ACTIVE:
            continue
        tags = _texts(path / "tags")
        title = meta.get("run_name") or tags.get("mlflow.runName")
        row = _row(path.name, title, _STATUS.get(meta.get("status"), str(meta.get("status"))), name)
        row |= {f"params.{key}": value for key, value in _texts(path / "params").items()}
        row |= {f"tags.{key}": value for key, value in tags.items()}
        row |= {f"metrics.{key}": _last(text, path / "metrics" / key) for key, text in _texts(path / "metrics").items()}
        yield row


def _meta(directory: epath.Path) -> dict[str, Any]:
    path = directory / META
    try:
        meta = yaml.load(_text(path), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise TableError(f"{path} is not YAML: {' '.join(str(error).split())}", _REMEDY) from error
    if not isinstance(meta, dict):
        raise TableError(f"{path} is no mapping", _REMEDY)
    return meta


def _text(path: epath.Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}", "make it readable") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 text (byte {error.start + 1})", _REMEDY) from error


def _texts(directory: epath.Path, prefix: str = "") -> dict[str, str]:
    """The content of every file; a key with slashes is a path."""
    found: dict[str, str] = {}
    if not directory.is_dir():
        return found
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            found |= _texts(path, f"{prefix}{path.name}/")
        else:
            found[prefix + path.name] = _text(path)
    return found


def _last(text: str, path: epath.Path) -> float:
    """The value of the last step in lines of `timestamp value step`; MLflow settles ties by time, then by value."""
    try:
        return max(_point(line) for line in text.splitlines())[2]
    except ValueError as error:
        raise TableError(f"{path} is no metric of MLflow: {error}", _REMEDY) from error


def _point(line: str) -> tuple[int, int, float]:
    """Step, time and value; stores of the first versions have no step."""
    time, value, *step = line.split()
    return int(step[0]) if step else 0, int(time), float(value)


def _of_database(path: epath.Path) -> list[dict[str, Any]]:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{pathlib.Path(path).resolve().as_uri()}?mode=ro", uri=True)
        ) as database:
            runs = database.execute(
                "SELECT run_uuid, runs.name, status, experiments.name FROM runs JOIN experiments USING (experiment_id) "
                "WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active' ORDER BY start_time, run_uuid"
            ).fetchall()
            rows = {run[0]: _row(*run) for run in runs}
            for kind in ("params", "tags"):
                for run_id, key, value in database.execute(f"SELECT run_uuid, key, value FROM {kind}"):
                    if run_id in rows:
                        rows[run_id][f"{kind}.{key}"] = value
            for run_id, key, value, is_nan in database.execute(
                "SELECT run_uuid, key, value, is_nan FROM latest_metrics"
            ):
                if run_id in rows:
                    rows[run_id][f"metrics.{key}"] = math.nan if is_nan else _finite_or_infinite(value)
    except sqlite3.Error as error:
        raise TableError(
            f"{path} cannot be read as an MLflow database: {error}", "give a database that MLflow wrote"
        ) from error
    return list(rows.values())


def _finite_or_infinite(value: float) -> float:
    """The database holds the largest float in place of an infinity."""
    return math.copysign(math.inf, value) if abs(value) >= _LARGEST_FLOAT else value
