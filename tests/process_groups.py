"""Several processes that must run at the same time, as the hosts of one run do."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence

from tests.conftest import PROJECT_ROOT

# Of variables that the machine of the tests may set and that would place a process elsewhere.
_PLACING = ("JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SKYPILOT_", "SLURM_", "TPU_")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How one of them ended; `output` is standard output and error together."""

    code: int
    output: str


def run_together(
    command: Sequence[str],
    variables: Sequence[Mapping[str, str]],
    logs: pathlib.Path,
    *,
    cwd: pathlib.Path = PROJECT_ROOT,
    timeout: float = 900.0,
) -> list[Ended]:
    """Runs one command in as many processes as `variables` has entries, each with its own beside the shared ones.

    When time is up, all are killed and the test sees -9.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PLACING)}
    with contextlib.ExitStack() as opened:
        started = []
        for number, own in enumerate(variables):
            log = opened.enter_context(open(logs / f"process-{number}.log", "w+"))
            environment = inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT_ROOT)} | dict(own)
            # A session of its own, so that what a shell has started dies with it.
            process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            started.append((process, log))
        deadline = time.monotonic() + timeout
        ended = []
        for process, log in started:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(0)
            ended.append(Ended(process.returncode, log.read()))
        return ended


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def explicit_variables(count: int) -> list[dict[str, str]]:
    """The JAX_* variables of each of `count` processes on this machine."""
    address = f"127.0.0.1:{free_port()}"
    return [
        {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(number)}
        for number in range(count)
    ]
