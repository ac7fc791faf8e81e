"""Slots as one-threaded workers of Dask's `distributed`, which queues the jobs, and starts a worker again that dies."""

import contextlib
import functools
import logging
import queue
from collections.abc import Sequence

import dask
from dask.task_spec import Task
from distributed import Client, Nanny, Scheduler, SpecCluster, get_worker
from distributed.client import Future
from distributed.scheduler import KilledWorker

from launch.engines.local import job_process
from launch.engines.local.job_process import Call, End, Stop
from launch.engines.local.slots import Slot
from scaling.errors import EXIT_FAILED

# A worker is lost rarely (the kernel's out-of-memory killer, a person); a job during which one is lost again and again is given up.
_LOST_WORKERS = 20

_SETTINGS = {
    "distributed.scheduler.allowed-failures": _LOST_WORKERS,
    # Jobs wait at the scheduler, in order of their priority, until a worker is free, and then stay there.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    # By default a worker that was starved of processor time for five minutes counts as lost.
    "distributed.scheduler.worker-ttl": None,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    # A job inherits the worker's variables, so they must be the driver's own.
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.worker.preload": [],
    "distributed.scheduler.dashboard.enabled": False,
    "distributed.admin.tick.limit": "1h",
    "distributed.comm.timeouts.connect": "120s",
    "distributed.worker.profile.enabled": False,
}

# Dask asks nobody for a password, so nothing of it may be reached from another machine; by default its pages are.
_LOOPBACK = "127.0.0.1"

# Of a worker's process: what `client.run` sets.
_STOP = Stop()


class DaskPool:
    """Runs calls in slots: a scheduler in this process and one worker process a slot, all on the loopback interface."""

    def __init__(self, slots: Sequence[Slot], folder: str):
        """Starts the workers.

        Args:
          slots: one worker each.
          folder: on a local disk, for what Dask writes.
        """
        self._slots = tuple(slots)
        self._ends: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._futures: dict[str, Future] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set(_SETTINGS))
            logging.getLogger("distributed").setLevel(logging.ERROR)
            worker = {
                "nthreads": 1,
                "memory_limit": 0,
                "local_directory": folder,
                "preload": ["launch.engines.local.dask_worker"],
                "env": {"DASK_LOGGING__DISTRIBUTED": "error"},
                "host": _LOOPBACK,
                "dashboard_address": f"{_LOOPBACK}:0",
            }
            workers = {slot.index: {"cls": Nanny, "options": worker} for slot in self._slots}
            scheduler = {
                "cls": Scheduler,
                "options": {"host": _LOOPBACK, "port": 0, "dashboard_address": f"{_LOOPBACK}:0"},
            }
            self._cluster = stack.enter_context(
                SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)
            )
            self._client = stack.enter_context(Client(self._cluster, set_as_default=False))
            self._resources = stack.pop_all()

    def submit(self, call: Call, priority: float) -> None:
        """See :class:`launch.engines.local.pools.Pool`."""
        # Marked as a producer of data, so that Dask lets it wait at the scheduler; there, and not at a busy worker, priorities count.
        task = Task(call.key, functools.partial(_run_here, call, self._slots), _data_producer=True)
        future = self._client.get({call.key: task}, call.key, sync=False, priority=priority)
        self._futures[call.key] = future
        future.add_done_callback(self._ends.put)

    def next_end(self, timeout: float) -> End | None:
        """See :class:`launch.engines.local.pools.Pool`."""
        try:
            future = self._ends.get(timeout=timeout)
        except queue.Empty:
            return None
        del self._futures[future.key]
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, KilledWorker):
            return End(future.key, EXIT_FAILED)
        raise error

    def stop(self, kill: bool) -> None:
        """See :class:`launch.engines.local.pools.Pool`. A worker that is just being started again is reached by the next call."""
        # A worker that cannot be reached has died, and the kernel has told its trainer.
        self._client.run(_stop, kill, on_error="ignore")

    def close(self) -> None:
        """See :class:`launch.engines.local.pools.Pool`."""
        self._resources.close()

    def worker_pids(self) -> dict[int, int]:
        """The process of each slot's worker."""
        return {nanny.name: nanny.pid for nanny in self._cluster.workers.values()}


def _run_here(call: Call, slots: Sequence[Slot]) -> End:
    """In a worker: the call in the slot that this worker is."""
    return job_process.run(call, slots[get_worker().name], _STOP)


def _stop(kill: bool) -> None:
    _STOP.asked.set()
    if kill:
        _STOP.kill.set()
