"""A sign of life in a file, for places where a lock cannot be seen from outside: buckets, and disks that several machines share.

A process that works on a directory beats every few seconds. A beat names its machine and process, so that on one machine, where locks tell more
and sooner, a beat that a killed process left behind is not believed.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from absl import logging
from etils import epath

BEAT_SECONDS = 20.0

# Three beats may be missed, by a slow disk or a stopped virtual machine, before a process counts as dead.
FRESH_SECONDS = 4 * BEAT_SECONDS


@contextlib.contextmanager
def beating(path: epath.Path, every_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Beats inside the block from a thread of its own, and removes the file at its end; after a kill the file stays and grows stale."""
    stopped = threading.Event()

    def beat_on() -> None:
        while not stopped.wait(every_seconds):
            try:
                beat(path)
            except OSError as error:
                # Training goes on: a missed beat costs no result, and a disk that stays broken will stop it elsewhere.
                logging.warning("no heartbeat in %s: %s", path, error)

    beat(path)
    thread = threading.Thread(target=beat_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def beat(path: epath.Path) -> None:
    """Writes one beat, under a temporary name on a disk, so that no reader sees half of it."""
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()})
    if "://" in os.fspath(path):
        path.write_text(text)  # An object appears whole or not at all.
        return
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def beats_elsewhere(path: epath.Path) -> bool:
    """Whether a process of another machine has beaten lately, by the clocks of both; a bucket's processes all count as elsewhere but this one."""
    try:
        last = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return False
    fresh = time.time() - last["time"] < FRESH_SECONDS
    if "://" in os.fspath(path):
        return fresh and (last["host"], last["pid"]) != (socket.gethostname(), os.getpid())
    return fresh and last["host"] != socket.gethostname()
