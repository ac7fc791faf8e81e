"""An MLflow store: an SQLite database, or a tracking server. `mlflow ui --backend-store-uri=sqlite:///OUTPUT/mlflow.db` shows it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch.mirrors.content import RunContent
from launch.mirrors.mirror import Exported
from scaling.extras import require

_USER = "a mirror in MLflow"
DATABASE = "mlflow.db"

# Our run id, and how far the run was exported, kept in the store itself.
_RUN_ID, _EXPORTED = "plumbline.run_id", "plumbline.exported"
# Limits of MLflow's REST protocol, which the database keeps too: values in one request, and characters of a parameter or tag.
_METRICS, _PARAMS, _LONGEST = 1000, 100, 5000
_PAGE = 1000
_ENDED = {"completed": "FINISHED", "diverged": "FAILED", "failed": "FAILED", "interrupted": "KILLED"}
_UNDER_WAY = {"new": "SCHEDULED", "running": "RUNNING"}


class MlflowMirror:
    """A run of ours is a run there, a sweep an experiment."""

    appends = True

    def __init__(self, output: str, tracking_uri: str = ""):
        """Opens the store, and makes its tables if need be.

        Args:
          output: the folder of the database.
          tracking_uri: of another store, such as a server's address.

        Raises:
          ConfigError: the extra is not installed.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        self._mlflow = require("mlflow", _USER)
        self._entities = require("mlflow.entities", _USER)
        uri = tracking_uri or f"sqlite:///{os.path.join(os.path.abspath(output), DATABASE)}"
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        self._experiments = {found.name: found.experiment_id for found in self._client.search_experiments()}
        # MLflow's names for runs, by ours.
        self._names: dict[str, str] = {}

    def exported(self) -> Mapping[str, Exported]:
        """What the tags of the store's runs say."""
        found: dict[str, Exported] = {}
        for run in self._runs():
            tags = run.data.tags
            if _RUN_ID in tags:
                self._names[tags[_RUN_ID]] = run.info.run_id
                if _EXPORTED in tags:
                    found[tags[_RUN_ID]] = Exported(**json.loads(tags[_EXPORTED]))
        return found

    def write(self, content: RunContent, before: Exported | None) -> None:
        """Adds settings once, then rows; a value that is there already is not added again by MLflow, whose key it is."""
        name = self._names.get(content.entry.run_id) or self._created(content)
        if before is None:
            for params in _batches(self._params(content.settings), _PARAMS):
                self._client.log_batch(name, params=params)
        for metrics in _batches(self._metrics(content), _METRICS):
            self._client.log_batch(name, metrics=metrics)
        if content.entry.status in _UNDER_WAY:
            self._client.update_run(name, status=_UNDER_WAY[content.entry.status])
        else:
            self._client.set_terminated(name, _ENDED[content.entry.status], _milliseconds(content.ended))
        step = content.last_step if content.last_step is not None else (before.step if before else -1)
        done = Exported(content.entry.stamp, content.entry.status, step, (before.count if before else 0) + 1)
        tags = {**_tags(content), _EXPORTED: json.dumps(vars(done))}
        self._client.log_batch(name, tags=[self._entities.RunTag(key, value[:_LONGEST]) for key, value in tags.items()])

    def close(self) -> None:
        """Nothing is held open."""

    def _runs(self) -> Iterator[Any]:
        token: str | None = None
        while self._experiments:
            page = self._client.search_runs(list(self._experiments.values()), max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _created(self, content: RunContent) -> str:
        if content.group not in self._experiments:
            self._experiments[content.group] = self._client.create_experiment(content.group)
        entry = content.entry
        run = self._client.create_run(
            self._experiments[content.group],
            start_time=_milliseconds(content.started),
            run_name=entry.name or entry.run_id,
            tags={_RUN_ID: entry.run_id, "kind": entry.kind},
        )
        self._names[entry.run_id] = run.info.run_id
        return run.info.run_id

    def _params(self, settings: Mapping[str, Any]) -> list[Any]:
        return [self._entities.Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]

    def _metrics(self, content: RunContent) -> list[Any]:
        metric = self._entities.Metric
        found = [
            metric(name, value, _milliseconds(row.time), row.step)
            for row in content.rows
            for name, value in row.values.items()
        ]
        ended = _milliseconds(content.ended)
        return found + [metric(name, value, ended, content.entry.step) for name, value in content.results.items()]


def _tags(content: RunContent) -> dict[str, str]:
    return {"run_id": content.entry.run_id, "status": content.entry.status, **content.lineage}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
