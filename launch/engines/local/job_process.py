"""One job in one slot: `launch.run_one` as a subprocess that is watched, told to stop, and never left behind."""

import dataclasses
import os
import pathlib
import subprocess
import threading
import time
from collections.abc import Sequence

from launch import processes, states
from launch.claims import Claim, try_claim
from launch.engines.local.slots import Slot
from scaling.errors import EXIT_INTERRUPTED

_POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Call:
    """A job as it is handed to a slot.

    Attributes:
      key: unique among the calls of a driver.
      root: the directory of the run directories.
      run_ids: what `launch.run_one` is given.
      log: receives its output.
      command: the program that takes `--root` and `--run_id` arguments.
      slot_locks: a folder on this machine with a claim for each slot.
      grace_seconds: how long a trainer that was told to stop may take to save.
    """

    key: str
    root: str
    run_ids: tuple[str, ...]
    log: str
    command: tuple[str, ...]
    slot_locks: str
    grace_seconds: float


@dataclasses.dataclass(frozen=True)
class End:
    """How a call ended.

    Attributes:
      key: of the call.
      code: exit code, negative for a signal; 0 also where there was nothing to do.
      begun: the runs of the call at which its trainer began an attempt.
      held: the runs of the call that another process held, so that they have to be tried again.
      log: of the trainer.
    """

    key: str
    code: int
    begun: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    log: str = ""


class Stop:
    """Asked once, trainers save and leave; asked again, they are killed. One a process; safe between threads."""

    def __init__(self):
        """Nobody asked."""
        self.asked = threading.Event()
        self.kill = threading.Event()


def run(call: Call, slot: Slot, stop: Stop) -> End:
    """Runs a call to its end, in a slot that no other process of this driver uses until then.

    It may be called again for a call that ended, or whose first worker died: what is recorded is not repeated, and what a dying trainer still holds is
    reported as held.
    """
    units = [
        unit for unit in (states.unit_of(call.root, run_id) for run_id in call.run_ids) if not states.is_finished(unit)
    ]
    if not units:
        return End(call.key, 0)
    # A trainer whose worker was killed may still be saving in this slot, and keeps its claim until it has left.
    claim = _wait_for_slot(call, slot, stop)
    if claim is None or stop.asked.is_set():
        return End(call.key, EXIT_INTERRUPTED)
    try:
        free = [unit for unit in units if not states.is_held(unit)]
        held = frozenset(unit.run_id for unit in units if unit not in free)
        if not free:
            return End(call.key, EXIT_INTERRUPTED, held=held)
        earlier = {unit.run_id: states.attempts(unit) for unit in free}
        code = _train(call, slot, [unit.run_id for unit in free], claim, stop)
        begun = frozenset(unit.run_id for unit in free if states.attempts(unit) > earlier[unit.run_id])
        return End(call.key, code, begun, held, call.log)
    finally:
        claim.close()


def _wait_for_slot(call: Call, slot: Slot, stop: Stop) -> Claim | None:
    while (claim := try_claim(pathlib.Path(call.slot_locks), str(slot.index))) is None:
        if stop.asked.is_set():
            return None
    return claim


def _train(call: Call, slot: Slot, run_ids: Sequence[str], slot_claim: Claim, stop: Stop) -> int:
    process = processes.start(
        [*call.command, f"--root={call.root}", *(f"--run_id={run_id}" for run_id in run_ids)],
        pathlib.Path(call.log),
        cores=slot.cores,
        environment=processes.trainer_environment(os.environ | slot.variables, slot.cores),
        inherited=[slot_claim.descriptor],
    )
    try:
        while process.poll() is None:
            if stop.asked.wait(_POLL_SECONDS):
                return _stopped(process, call.grace_seconds, stop)
        return process.returncode
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _stopped(process: subprocess.Popen, grace_seconds: float, stop: Stop) -> int:
    process.terminate()
    deadline = time.monotonic() + grace_seconds
    while process.poll() is None:
        if stop.kill.is_set() or time.monotonic() > deadline:
            process.kill()
        time.sleep(_POLL_SECONDS)
    return process.returncode
