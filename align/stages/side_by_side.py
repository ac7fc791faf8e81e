"""Stages that do not depend on each other, in several processes of this machine.

On a CPU, two processes of one thread each take more steps a second than one of two threads. A stage is claimed by the lock of its directory and done when its
record is there, as everywhere, so nothing that a process knew is lost with it. Nothing here imports JAX: a worker must be confined to its cores first.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple

from scaling.errors import EXIT_INTERRUPTED, InterruptedRunError, PlumblineError
from scaling.training.interruption import Interruption
from scaling.training.progress import duration

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LOOK_SECONDS = 0.5


class NamedStage(NamedTuple):
    """What one call of :func:`align.stages.running.run` takes.

    Attributes:
      kind: of `catalogue.KINDS`.
      config: of that kind's dataclass.
      name: a readable name, unique among those that run together.
    """

    kind: str
    config: Any
    name: str


def run(stages: Sequence[NamedStage], root: str, processes: int, interruption: Interruption) -> dict[str, str]:
    """Runs stages in as many processes, each confined to its share of the cores; one at a time in this process where that is one.

    When one fails, or a signal comes, the others save and leave. When this process dies, however it dies, they do too.

    Returns:
      The status of each, by its name, in the order in which they were given.

    Raises:
      InterruptedRunError: a signal came; the same command continues.
      PlumblineError: what a stage raised, or a process was killed.
    """
    if processes == 1:
        return {stage.name: taken(stage, root, interruption) for stage in stages}
    context = multiprocessing.get_context("spawn")
    stop, shares = context.Event(), context.Queue()
    for share in _shares(processes):
        shares.put(share)
    with (
        _threads_for(len(_cores()) // processes or 1),
        concurrent.futures.ProcessPoolExecutor(processes, context, _begin, (shares, stop)) as pool,
    ):
        futures = {pool.submit(_run, stage, root): stage.name for stage in stages}
        try:
            return _statuses(futures, interruption)
        except BrokenProcessPool as error:
            raise PlumblineError(
                "a process of the study was killed (is there enough memory?); the same command continues"
            ) from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _statuses(futures: dict[concurrent.futures.Future, str], interruption: Interruption) -> dict[str, str]:
    statuses, started, waiting = {}, time.monotonic(), set(futures)
    while waiting:
        done, waiting = concurrent.futures.wait(
            waiting, timeout=_LOOK_SECONDS, return_when=concurrent.futures.FIRST_COMPLETED
        )
        if interruption.requested:
            raise InterruptedRunError("interrupted; what was trained is saved, and the same command continues")
        statuses |= {futures[future]: future.result() for future in done}
        if done:
            left = (time.monotonic() - started) / len(statuses) * len(waiting)
            print(f"{len(statuses)} of {len(futures)} policies | {duration(left)} left", flush=True)
    return {name: statuses[name] for name in futures.values()}


def default_processes() -> int:
    """One for each CPU core; to be asked before JAX is imported, so an accelerator is the caller's to know."""
    return len(_cores())


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _shares(processes: int) -> list[list[int]]:
    """The cores of each process: an even share, or one in turn where there are more processes than cores."""
    cores = _cores()
    if processes >= len(cores):
        return [[cores[number % len(cores)]] for number in range(processes)]
    return [
        cores[number * len(cores) // processes : (number + 1) * len(cores) // processes] for number in range(processes)
    ]


@contextmanager
def _threads_for(cores: int) -> Iterator[None]:
    """Environment of processes with so many cores: thread pools are sized when libraries are loaded, so it must be there before they start."""
    flags = os.environ.get("XLA_FLAGS", "")
    # One thread: handing matmuls to a pool of one costs time and gains nothing.
    single = "--xla_cpu_multi_thread_eigen=false" if cores == 1 else ""
    values = {name: str(cores) for name in _THREADS} | {"XLA_FLAGS": f"{flags} {single}".strip()}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Worker:
    """What a worker process knows."""

    asked_to_stop: Callable[[], bool]
    idle = threading.Event()


def _begin(shares: Any, stop: Any) -> None:
    """Confines a new worker to its cores, and has it stop when it is told to or is left alone."""
    share = shares.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)
    # Ctrl-C at a terminal reaches every process of it; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    _Worker.asked_to_stop = staticmethod(lambda: stop.is_set() or not parent.is_alive())
    _Worker.idle.set()
    threading.Thread(target=_stop_when_asked, daemon=True).start()


def _stop_when_asked() -> None:
    while not _Worker.asked_to_stop():
        time.sleep(_LOOK_SECONDS)
    if not _Worker.idle.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # The stage notes it at its next step boundary.
    _Worker.idle.wait()
    if not multiprocessing.parent_process().is_alive():
        # The pool is gone, and would be waited for in vain.
        os._exit(EXIT_INTERRUPTED)


def _run(stage: NamedStage, root: str) -> str:
    with Interruption() as interruption:
        if _Worker.asked_to_stop():
            raise InterruptedRunError(f"{stage.name} was not begun")
        _Worker.idle.clear()
        try:
            return taken(stage, root, interruption)
        finally:
            _Worker.idle.set()


def taken(stage: NamedStage, root: str, interruption: Interruption) -> str:
    """Takes one stage to its record in this process, and returns its status."""
    from align.stages import running  # which imports JAX

    return running.run(stage.kind, stage.config, root, interruption, stage.name)[1]
