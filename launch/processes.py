"""Trainer processes: pinned to the cores of a slot, logged to a file, and never outliving the driver."""

import ctypes
import glob
import os
import pathlib
import signal
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
    """Starts a trainer.

    When the driver dies, however it dies, the kernel sends the trainer SIGTERM: it saves and leaves. It has a session of its own, so that a
    Ctrl-C at the terminal reaches the driver alone, which then stops its trainers in order.

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


def has_accelerator() -> bool:
    """Whether this machine shows a GPU or a TPU that JAX may use; looks at devices, imports nothing."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return bool(glob.glob("/dev/nvidia[0-9]*") or glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))


def available_cores() -> list[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_slots() -> int:
    """One slot on an accelerator; otherwise one for each core: two pinned processes train 28% more tokens/s than one on two cores."""
    return 1 if has_accelerator() else len(available_cores())


def cores_of_slot(slot: int, slots: int, cores: Sequence[int]) -> list[int]:
    """The cores of one slot: an even share, or one core in turn where there are more slots than cores."""
    if slots >= len(cores):
        return [cores[slot % len(cores)]]
    return list(cores[slot * len(cores) // slots : (slot + 1) * len(cores) // slots])


def trainer_environment(cores: Sequence[int]) -> dict[str, str]:
    """The driver's variables, with thread pools as large as the slot and one compilation cache for all."""
    environment = with_project_on_path(os.environ)
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


def run_one_command(root: str, run_ids: Sequence[str]) -> list[str]:
    """What every engine runs."""
    return [sys.executable, "-m", "launch.run_one", f"--root={root}", *(f"--run_id={run_id}" for run_id in run_ids)]


def _prctl():
    """Linux's prctl, None elsewhere; looked up before the fork, where imports are not safe."""
    return getattr(ctypes.CDLL(None), "prctl", None)
