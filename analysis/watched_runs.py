"""Run directories as the planner's jobs: learning curves of runs that are being trained, and of those that are finished."""

import math
from collections.abc import Iterator

import numpy as np
from etils import epath

from analysis.laws.planning.stopping import Finished, Job
from analysis.laws.tables.table import RunsTable
from scaling.accounting.parameters import count_parameters
from scaling.errors import DataError
from scaling.run_directory import RunDirectory, Spec


def running(root: str, parameters: str) -> list[Job]:
    """Jobs under a directory that have begun, and have no record; trunks are left out, for their branches are what counts.

    Args:
      root: a directory of run directories, at any depth.
      parameters: how parameters are counted, `total` or `non_embedding`.

    Raises:
      DataError: the directory does not exist, or a spec cannot be read.
    """
    if not epath.Path(root).is_dir():
        raise DataError(f"{root} is not a directory", "name the directory of the runs by --watch")
    jobs = []
    for path in sorted(_directories(epath.Path(root))):
        run = RunDirectory(path)
        if run.record() is not None:
            continue
        spec = run.spec
        job = _job(run, _name(spec), getattr(count_parameters(spec.config.model), parameters), _horizon(spec))
        if spec.kind != "trunk" and job is not None:
            jobs.append(job)
    return jobs


def finished(table: RunsTable) -> dict[str, Finished]:
    """Completed runs of the table that have a directory with a learning curve, by run_id; the held-out ones as well."""
    runs: dict[str, Finished] = {}
    for frame in (table.frame, table.held_out):
        for row in frame.itertuples():
            if not isinstance(row.path, str) or not (epath.Path(row.path) / "attempts").is_dir():
                continue
            job = _job(RunDirectory(row.path), f"{row.run_id} ({row.name})", row.params, row.tokens)
            if job is not None:
                runs[row.run_id] = Finished(job, row.loss)
    return runs


def _directories(root: epath.Path) -> Iterator[epath.Path]:
    """Run directories at any depth, without listing what is inside them."""
    if (root / "spec.json").exists():
        yield root
        return
    for path in root.iterdir():
        if path.is_dir():
            yield from _directories(path)


def _job(run: RunDirectory, name: str, params: float, horizon: float) -> Job | None:
    """None where no step was logged yet, or none after the first: a rate needs two."""
    rows = [row for row in run.metrics() if "loss" in row and math.isfinite(row["loss"])]
    rates = [row["tokens_per_second"] for row in rows if row.get("tokens_per_second")]
    if not rates:
        return None
    tokens, loss = (np.array([row[key] for row in rows], np.float64) for key in ("tokens", "loss"))
    return Job(name, float(params), float(horizon), tokens, loss, float(rates[-1]))


def _horizon(spec: Spec) -> float:
    return float(spec.config.steps * spec.config.batch_tokens)


def _name(spec: Spec) -> str:
    return f"{spec.run_id} ({spec.name})" if spec.name else spec.run_id
