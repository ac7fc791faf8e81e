"""One run over several processes: where this process stands among them, and what only the first of them does.

:func:`start` connects the processes, wherever they were started. The first that applies decides:

===========================  ====================================================================================================
place                        what says so
===========================  ====================================================================================================
explicit                     JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID (JAX itself reads the first alone)
masked TPU slot              TPU_PROCESS_BOUNDS=1,1,1: a part of a host, which must not wait for the rest of the slice
TPU slice                    TPU chips and libtpu; the metadata server or TPU_WORKER_HOSTNAMES name the hosts
Slurm step                   SLURM_STEP_NODELIST with more than one task; the batch script itself is not a step
SkyPilot                     SKYPILOT_NUM_NODES above 1, with SKYPILOT_NODE_IPS and SKYPILOT_NODE_RANK
single                       everything else
===========================  ====================================================================================================

Nothing here loads JAX at import, nor does :func:`start` in a single process.
"""

import dataclasses
import glob
import importlib.util
import json
import os
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from scaling.errors import ConfigError, PlumblineError

ResultT = TypeVar("ResultT")

# SkyPilot's own services keep away from this port; it is also the first of those that libtpu uses.
_SKYPILOT_PORT = 8476

# The processes of a run end together; one that fails alone need not wait longer for the rest, which cannot go on.
_SHUTDOWN_SECONDS = 120

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process was started.

    Attributes:
      name: a row of the module's table.
      arguments: for `jax.distributed.initialize`; None where nothing is to be started.
    """

    name: str
    arguments: Mapping[str, Any] | None = None


def start() -> Place:
    """Connects this process with the others of its run; to be called before anything touches a device. A second call does nothing.

    A process that dies is noticed after 100 s by the others, which then end too: only all together can go on.

    Raises:
      ConfigError: the variables contradict each other.
    """
    place = place_of(os.environ, has_tpu())
    if place.arguments is not None:
        import jax

        if not jax.distributed.is_initialized():
            jax.distributed.initialize(**place.arguments, shutdown_timeout_seconds=_SHUTDOWN_SECONDS)
    return place


def start_alone(what: str) -> Place:
    """:func:`start`, for a program that knows no other process of its run.

    Args:
      what: the program, for the message.

    Raises:
      ConfigError: several processes were started.
    """
    place = start()
    if place.arguments is not None and process_count() > 1:
        raise ConfigError(
            f"{what} runs in one process, and {process_count()} were started ({place.name})",
            "run it on one host; it uses all devices there",
        )
    return place


def place_of(environment: Mapping[str, str], tpu: bool) -> Place:
    """The place that the variables describe; changes nothing.

    Args:
      environment: the variables of the process.
      tpu: whether it sees TPU chips.

    Raises:
      ConfigError: variables are missing or not what they should be.
    """
    for found in (_explicit(environment), _tpu(environment, tpu), _slurm(environment), _skypilot(environment)):
        if found is not None:
            return found
    return Place("single")


def has_tpu() -> bool:
    """Whether this process may use TPU chips of this machine; touches none of them."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return False
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def process_count() -> int:
    """How many processes share the run; 1 before :func:`start`, and where it had nothing to start."""
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_lead() -> bool:
    """Whether this is the process that writes: the first of all, or the only one."""
    import jax

    return not jax.distributed.is_initialized() or jax.process_index() == 0


def on_lead(function: Callable[[], ResultT]) -> ResultT:
    """What `function` returns in the first process, in all of them; the others wait and do not call it.

    Decisions that rest on files are taken so: two processes may see a file at different times, and then would part ways.

    Args:
      function: its result or exception must be picklable.

    Raises:
      Exception: whatever it raised there, in every process.
    """
    if process_count() == 1:
        return function()
    try:
        outcome = (True, function()) if is_lead() else None
    except Exception as error:
        # The first process raises it as it came, with its traceback; the others learn what it was.
        _broadcast((False, _picklable(error)))
        raise
    succeeded, value = _broadcast(outcome)
    if not succeeded:
        raise value
    return value


def together(function: Callable[[], ResultT]) -> ResultT:
    """Calls `function` in every process, and goes on only if it succeeded in all of them.

    What a host lacks, such as a token store, would otherwise end one process and leave the rest waiting in a collective.

    Raises:
      Exception: its own, in the processes where it failed; a ConfigError in the others.
    """
    if process_count() == 1:
        return function()
    import numpy as np
    from jax.experimental import multihost_utils

    failure: Exception | None = None
    try:
        result = function()
    except Exception as error:
        failure = error
    failed = np.flatnonzero(multihost_utils.process_allgather(np.int32(failure is not None)))
    if failure is not None:
        raise failure
    if len(failed):
        raise ConfigError(
            f"process {failed[0]} of {process_count()} refused the run",
            "see its output; every host needs the same files",
        )
    return result


def _explicit(environment: Mapping[str, str]) -> Place | None:
    given = [name for name in _EXPLICIT if environment.get(name)]
    if not given:
        return None
    if len(given) < len(_EXPLICIT):
        missing = ", ".join(name for name in _EXPLICIT if name not in given)
        raise ConfigError(f"{given[0]} is set without {missing}", f"set {', '.join(_EXPLICIT)}, or none of them")
    arguments = _arguments(environment, environment[_EXPLICIT[0]], _EXPLICIT[1], _EXPLICIT[2])
    local = environment.get("JAX_LOCAL_DEVICE_IDS", "")
    if local:
        # Passed on here, because JAX would let a cluster that it detects override an absent argument.
        if not all(identifier.isdecimal() for identifier in local.split(",")):
            raise ConfigError(f"JAX_LOCAL_DEVICE_IDS is {local!r}", "write numbers with commas between them: 0,1")
        arguments["local_device_ids"] = [int(identifier) for identifier in local.split(",")]
    return Place("explicit", arguments | {"cluster_detection_method": "deactivate"})


def _tpu(environment: Mapping[str, str], tpu: bool) -> Place | None:
    if environment.get("TPU_PROCESS_BOUNDS") == "1,1,1":
        return Place("masked TPU slot")
    if not tpu:
        return None
    named = "TPU_WORKER_HOSTNAMES" in environment
    if "TPU_SKIP_MDS_QUERY" in environment and not named:
        # A container that was given the chips of one host and no word of any other.
        return Place("single")
    return Place("TPU slice", {})


def _slurm(environment: Mapping[str, str]) -> Place | None:
    if "SLURM_STEP_NODELIST" not in environment or _integer(environment, "SLURM_NTASKS") < 2:
        return None
    arguments: dict[str, Any] = {"cluster_detection_method": "slurm"}
    devices = slurm_local_devices(environment)
    if devices is not None:
        arguments["local_device_ids"] = devices
    return Place("Slurm step", arguments)


def slurm_local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """The GPUs of one task of a Slurm step, as indices into those that it sees; None without GPUs.

    JAX would take the one GPU whose number is the task's on its node. That is right for a task per GPU that sees all of them, leaves seven of
    eight idle for one task per node, and names a GPU that is not there where Slurm shows each task its own alone (`--gpus-per-task`).

    Raises:
      ConfigError: the GPUs of a node do not divide among its tasks.
    """
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if not visible:
        return None
    tasks, local = _tasks_on_this_node(environment), _integer(environment, "SLURM_LOCALID")
    if tasks == 1 or len(visible) == 1:
        return list(range(len(visible)))
    if len(visible) % tasks:
        raise ConfigError(
            f"{len(visible)} GPUs do not divide among the {tasks} tasks of this node",
            "ask for one task per node or one per GPU",
        )
    share = len(visible) // tasks
    return list(range(local * share, (local + 1) * share))


def _tasks_on_this_node(environment: Mapping[str, str]) -> int:
    """Of SLURM_STEP_TASKS_PER_NODE, written like `8(x2),4`: for nodes 0 and 1 eight, for node 2 four."""
    counts: list[int] = []
    for tasks, _, times in re.findall(r"(\d+)(\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "1")):
        counts += [int(tasks)] * int(times or 1)
    node = int(environment.get("SLURM_NODEID", "0"))
    return counts[min(node, len(counts) - 1)]


def _skypilot(environment: Mapping[str, str]) -> Place | None:
    if not environment.get("SKYPILOT_NUM_NODES") or _integer(environment, "SKYPILOT_NUM_NODES") < 2:
        return None
    head = environment.get("SKYPILOT_NODE_IPS", "").split()
    if not head:
        raise ConfigError("SKYPILOT_NUM_NODES is above 1 without SKYPILOT_NODE_IPS", "run this in a SkyPilot task")
    arguments = _arguments(environment, f"{head[0]}:{_SKYPILOT_PORT}", "SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK")
    return Place("SkyPilot", arguments | {"cluster_detection_method": "deactivate"})


def _arguments(environment: Mapping[str, str], address: str, count: str, index: str) -> dict[str, Any]:
    processes, process = _integer(environment, count), _integer(environment, index)
    if not 0 <= process < processes:
        raise ConfigError(
            f"{index}={process} is not among the {processes} processes of {count}",
            f"number them from 0 to {processes - 1}",
        )
    return {"coordinator_address": address, "num_processes": processes, "process_id": process}


def _integer(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not value.isdecimal():
        raise ConfigError(f"{name} is {value!r}, not a number", f"set {name} in every process")
    return int(value)


def _picklable(error: Exception) -> Exception:
    """The error itself, or what it says where it cannot be rebuilt in another process."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return PlumblineError(f"{type(error).__name__}: {error}")


def _broadcast(value: Any) -> Any:
    """The value of the first process, in all of them."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    payload = np.frombuffer(pickle.dumps(value), np.uint8)
    with jax.transfer_guard("allow"):
        size = int(multihost_utils.broadcast_one_to_all(np.int32(len(payload))))
        # One compilation serves all messages up to a power of two.
        padded = np.zeros(max(1024, 1 << (size - 1).bit_length()), np.uint8)
        if is_lead():
            padded[:size] = payload
        received = multihost_utils.broadcast_one_to_all(padded)
    return pickle.loads(np.asarray(received)[:size].tobytes())


def main() -> None:
    """Prints where this process stands and what it sees, as one line of JSON: `python -m scaling.distributed` on every host of a cluster."""
    place = start()
    import jax

    local = jax.local_devices()
    seen = {
        "place": place.name,
        "process": jax.process_index(),
        "processes": jax.process_count(),
        "devices": jax.device_count(),
        "local_devices": len(local),
        "platform": local[0].platform,
        "kind": local[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
    }
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
