"""Trainer processes: pinned to the cores of a slot, logged to a file, and never outliving what started them."""

import contextlib
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from scaling.gin_files import PROJECT_ROOT

_PR_SET_PDEATHSIG = 1


def start(
    command: Sequence[str],
    log: pathlib.Path,
    *,
    cores: Sequence[int],
    environment: Mapping[str, str],
    inherited: Sequence[int],
) -> subprocess.Popen:
    """Starts a trainer, or a driver of trainers.

    When the thread that called this ends, however its process dies, the kernel sends the new process SIGTERM: it saves and leaves. It has a session
    of its own, so that a Ctrl-C at the terminal reaches the first process alone, which then stops the others in order.

    Args:
      command: program and arguments.
      log: receives standard output and error.
      cores: the CPU cores it may use; empty leaves the driver's.
      environment: all variables.
      inherited: file descriptors that it keeps open (its claims).
    """
    driver = os.getpid()
    prctl = _prctl()

    def prepare() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            # The driver may have died between fork and prctl; then no signal would ever come.
            if os.getppid() != driver:
                os._exit(1)
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)

    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=os.getcwd(),
            pass_fds=tuple(inherited),
            preexec_fn=prepare,
            start_new_session=True,
        )


def handle_of(pid: int) -> str:
    """A name for a living process that no later one can have: host, number and start."""
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def is_of_this_machine(handle: str) -> bool:
    """Whether a handle names a process of this machine."""
    return handle.rpartition(":")[0].rpartition(":")[0] == socket.gethostname()


def is_alive(handle: str) -> bool:
    """Whether the process of a handle of this machine lives; one that ended and was not collected yet does not."""
    pid, started = handle.split(":")[-2:]
    return started != "" and _started(int(pid)) == started


def terminate(handle: str) -> None:
    """Sends SIGTERM to the process of a handle of this machine if it lives."""
    if is_alive(handle):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(handle.split(":")[-2]), signal.SIGTERM)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since the machine did; empty when it has ended."""
    try:
        # What follows the name, which is in parentheses and may hold anything: state, then 19 fields before the start.
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def last_line(log: pathlib.Path) -> str:
    """The last line of a log that says something."""
    lines = _lines(log)
    return lines[-1] if lines else "it printed nothing"


def refusal(log: pathlib.Path, run_ids: Sequence[str]) -> str:
    """Why a trainer refused one of these runs, as its log says; empty when it refused none of them."""
    for line in _lines(log):
        for run_id in run_ids:
            if line.startswith(f"error: {run_id}: "):
                return line.removeprefix(f"error: {run_id}: ")
    return ""


def _lines(log: pathlib.Path) -> list[str]:
    text = log.read_text(errors="replace").replace("\r", "\n")
    return [line.strip() for line in text.splitlines() if line.strip()]


def trainer_environment(variables: Mapping[str, str], cores: Sequence[int]) -> dict[str, str]:
    """Those variables, with thread pools as large as the slot and one compilation cache for all."""
    environment = with_project_on_path(variables)
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROJECT_ROOT / ".cache" / "jax"))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if cores:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(len(cores))
    if len(cores) == 1:
        # One thread: handing matmuls to a pool of one costs time and gains nothing.
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return environment


def with_project_on_path(environment: Mapping[str, str]) -> dict[str, str]:
    """The same variables; Python finds this checkout with them whatever directory it is started in."""
    path = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if str(PROJECT_ROOT) not in path:
        path.insert(0, str(PROJECT_ROOT))
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def train_command(run_directories: Sequence[os.PathLike[str]]) -> list[str]:
    """The trainer of frozen run directories, which `launch.run_one` becomes."""
    return [sys.executable, "-m", "scaling.train", *(f"--run_dir={os.fspath(path)}" for path in run_directories)]


def run_one_command() -> list[str]:
    """What every engine runs; `--root` and `--run_id` arguments follow."""
    return [sys.executable, "-m", "launch.run_one"]


def _prctl():
    """Linux's prctl, None elsewhere; looked up before the fork, where imports are not safe."""
    return getattr(ctypes.CDLL(None), "prctl", None)
