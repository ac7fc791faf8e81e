"""Pools: what runs calls in slots, all at once through Dask or one after another."""

import queue
import threading
from typing import Protocol

from launch.engines.local import job_process
from launch.engines.local.job_process import Call, End, Stop
from launch.engines.local.slots import Slot


class Pool(Protocol):
    """Runs calls, those of higher priority first; used by one thread."""

    def submit(self, call: Call, priority: float) -> None:
        """Queues a call."""

    def next_end(self, timeout: float) -> End | None:
        """An end that was not reported yet; None when none comes within so many seconds."""

    def stop(self, kill: bool) -> None:
        """Makes every call end soon: trainers save and leave, or are killed; what waits does not begin. May be repeated."""

    def close(self) -> None:
        """Gives everything back; to be called when all calls have ended."""


class SerialPool:
    """One slot in this process, without any other machinery: for debugging, and where nothing may listen on a port."""

    def __init__(self, slot: Slot):
        """Starts a thread, in which jobs are children of this process."""
        self._slot = slot
        self._stop = Stop()
        self._ends: queue.SimpleQueue[End | BaseException] = queue.SimpleQueue()
        self._calls: queue.PriorityQueue[tuple[float, int, Call | None]] = queue.PriorityQueue()
        self._count = 0
        self._thread = threading.Thread(target=self._work, name="slot", daemon=True)
        self._thread.start()

    def submit(self, call: Call, priority: float) -> None:
        """See :class:`Pool`."""
        self._count += 1
        self._calls.put((-priority, self._count, call))

    def next_end(self, timeout: float) -> End | None:
        """See :class:`Pool`."""
        try:
            end = self._ends.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(end, BaseException):
            raise end
        return end

    def stop(self, kill: bool) -> None:
        """See :class:`Pool`."""
        self._stop.asked.set()
        if kill:
            self._stop.kill.set()

    def close(self) -> None:
        """See :class:`Pool`."""
        self._calls.put((float("-inf"), 0, None))
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()[2]) is not None:
            try:
                self._ends.put(job_process.run(call, self._slot, self._stop))
            except BaseException as error:  # Raised again by next_end, in the thread that can act on it.
                self._ends.put(error)
