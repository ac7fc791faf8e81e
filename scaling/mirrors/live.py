"""Mirrors of a run or stage while it trains. Training never waits for them, and whatever a service does, the run goes on: failures are said once and counted.

Each service has a thread of its own, fed by a queue; a row is put there and forgotten. What the files say is complete in any case, so what a service has
missed comes with the next `python -m launch.export`.
"""

import dataclasses
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from scaling.mirrors import values
from scaling.mirrors.config import MirrorsConfig
from scaling.mirrors.tensorboard import TensorBoardRun
from scaling.mirrors.weights_and_biases import Identity, WandbRun
from scaling.run_directory import Attempt, is_remote

# More rows than a run writes in the time that a service needs to answer; a row is a few hundred bytes.
_WAITING_ROWS = 1000


class Service(Protocol):
    """What a service makes of one run; any method may raise anything."""

    def row(self, step: int, measured: Mapping[str, float], now: float) -> None:
        """Shows one step."""

    def close(self, results: Mapping[str, float], status: str) -> None:
        """Ends the run there."""


@dataclasses.dataclass
class Account:
    """How a service fared; part of the record.

    Attributes:
      rows: taken by the service.
      lost: rows that it refused, or that came too fast for it.
      failure: the first thing that went wrong.
    """

    rows: int = 0
    lost: int = 0
    failure: str = ""


class LiveMirrors:
    """The services of one attempt; without any, nothing here does anything."""

    def __init__(self, services: Mapping[str, Callable[[], Service]], patience_seconds: float, run_id: str):
        """Starts a thread for each service.

        Args:
          services: from a name to what opens the service; called in its thread.
          patience_seconds: how long :meth:`close` waits for all of them together.
          run_id: for messages.
        """
        self._patience_seconds = patience_seconds
        self._services = [_Follower(name, opener, run_id) for name, opener in services.items()]

    def row(self, row: Mapping[str, Any]) -> None:
        """Shows a row of `metrics.jsonl`; returns at once and raises nothing."""
        measured, now = values.of_row(row), time.time()
        for service in self._services:
            service.put((row["step"], measured, now))

    def close(self, results: Mapping[str, Any], status: str) -> dict[str, dict[str, Any]]:
        """Ends the run at every service, and says how each fared.

        Args:
          results: the run's, nested.
          status: of the run or attempt.
        """
        flat = {f"final/{name}": value for name, value in values.numbers(results).items()}
        for service in self._services:
            service.finish(flat, status)
        deadline = time.monotonic() + self._patience_seconds
        accounts = {service.name: service.account_by(deadline) for service in self._services}
        self._services = []
        return {name: dataclasses.asdict(account) for name, account in accounts.items()}

    def close_with(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Ends the run at every service by its record, and returns that with how each fared: its field `mirrors`."""
        return {**record, "mirrors": self.close(values.results(record), record["status"])}


def of_attempt(config: MirrorsConfig, identity: Identity, attempt: Attempt) -> LiveMirrors:
    """The mirrors that a configuration asks for, of one attempt at a run of either stage.

    Args:
      config: which services.
      identity: what they are told of the run.
      attempt: just begun.
    """
    openers = {"tensorboard": lambda: _TensorBoard(attempt), "wandb": lambda: _Wandb(identity, config, attempt)}
    return LiveMirrors({name: openers[name] for name in config.services}, config.patience_seconds, identity.run_id)


NONE = LiveMirrors({}, 0.0, "")


class _Follower:
    """One service in its thread."""

    def __init__(self, name: str, opener: Callable[[], Service], run_id: str):
        self.name = name
        self._opener, self._run_id = opener, run_id
        self._account, self._lock = Account(), threading.Lock()
        self._queue: queue.Queue[tuple[int, Mapping[str, float], float] | None] = queue.Queue()
        self._results: Mapping[str, float] = {}
        self._status = ""
        # A daemon: a service that hangs must not keep the process.
        self._thread = threading.Thread(target=self._follow, name=f"mirror-{name}", daemon=True)
        self._thread.start()

    def put(self, item: tuple[int, Mapping[str, float], float]) -> None:
        if self._queue.qsize() >= _WAITING_ROWS:
            self._note("rows came faster than it took them", lost=1)
        else:
            self._queue.put(item)

    def finish(self, results: Mapping[str, float], status: str) -> None:
        self._results, self._status = results, status
        self._queue.put(None)

    def account_by(self, deadline: float) -> Account:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            waiting = max(0, self._queue.qsize() - 1)
            self._note("it did not take the last rows in time", lost=waiting)
        with self._lock:
            return dataclasses.replace(self._account)

    def _follow(self) -> None:
        service: Service | None = None
        try:
            service = self._opener()
        # Services and their clients fail in ways of their own, and none of them may reach the run.
        except Exception as error:  # noqa: BLE001
            self._note(_described(error))
        while (item := self._queue.get()) is not None:
            if service is None:
                self._note("it could not be opened", lost=1)
            else:
                self._show(service, item)
        if service is not None:
            try:
                service.close(self._results, self._status)
            except Exception as error:  # noqa: BLE001
                self._note(_described(error))

    def _show(self, service: Service, item: tuple[int, Mapping[str, float], float]) -> None:
        try:
            service.row(*item)
        except Exception as error:  # noqa: BLE001
            self._note(_described(error), lost=1)
            return
        with self._lock:
            self._account.rows += 1

    def _note(self, failure: str, lost: int = 0) -> None:
        """Counts what went wrong; the first time, says it."""
        with self._lock:
            first = not self._account.failure
            self._account.lost += lost
            self._account.failure = self._account.failure or failure
        if first:
            print(
                f"\n{self._run_id}: mirror {self.name}: {failure}; the run goes on, and launch.export can fill the gap",
                file=sys.stderr,
                flush=True,
            )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class _TensorBoard:
    """Event files beside the attempt's curve, so that no two processes share one."""

    def __init__(self, attempt: Attempt):
        if is_remote(attempt.path):
            raise OSError(f"{attempt.path} is not on a local disk, which event files need")
        self._run = TensorBoardRun(attempt.path)

    def row(self, step: int, measured: Mapping[str, float], now: float) -> None:
        self._run.row(step, measured, now)
        self._run.flush()

    def close(self, results: Mapping[str, float], status: str) -> None:
        self._run.close()


class _Wandb:
    """Rows sent to the service; a resumed run is continued there, and steps that it has already are not taken again."""

    def __init__(self, identity: Identity, config: MirrorsConfig, attempt: Attempt):
        patience = max(1.0, config.patience_seconds)
        # Where wandb keeps what it has not sent yet; by itself it would take the working directory.
        folder = tempfile.gettempdir() if is_remote(attempt.path) else str(attempt.path)
        self._run = WandbRun(
            identity,
            mode="online",
            project=config.project,
            entity=config.entity,
            folder=folder,
            patience_seconds=patience,
        )

    def row(self, step: int, measured: Mapping[str, float], now: float) -> None:
        self._run.row(step, measured, now)

    def close(self, results: Mapping[str, float], status: str) -> None:
        self._run.close({"status": status, **results}, failed=status == "failed")
