"""What `launch.doctor` looks at: one finding for each thing that must be right before a sweep is worth starting."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from launch import processes
from launch.engines.engine import Engine
from launch.engines.local.engine import LocalEngine
from scaling import run_directory
from scaling.errors import ConfigError
from scaling.gin_files import PROJECT_ROOT

LOCK = PROJECT_ROOT / "requirements.lock"

# Prints where a process stands and what it sees. JAX is never loaded into the doctor's own process.
_PROBE = (sys.executable, "-m", "scaling.distributed")

# Without them an engine cannot work: packages of this environment, and commands.
_NEEDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "local": (("distributed",), ()),
    "serial": ((), ()),
    "slurm": (("submitit",), ("sbatch", "srun", "squeue", "scancel")),
    "sky": ((), ("sky",)),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
      subject: what was looked at.
      says: what was found.
      remedy: what to do; empty when all is well.
      required: whether a sweep as asked for cannot do without it.
    """

    subject: str
    says: str
    remedy: str = ""
    required: bool = True

    @property
    def failed(self) -> bool:
        """Whether something must be done before a sweep."""
        return bool(self.remedy) and self.required

    def __str__(self) -> str:
        word = "ok" if not self.remedy else ("WRONG" if self.required else "-")
        return f"{word:5}  {self.subject}: {self.says}" + (f"; {self.remedy}" if self.remedy else "")


def versions(lock: pathlib.Path = LOCK) -> Finding:
    """Compares the installed packages with the lock."""
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(), re.M))
    differing = []
    for name, version in pinned.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "missing"
        if installed != version:
            differing.append(f"{name} is {installed}, not {version}")
    if not differing:
        return Finding("versions", f"{len(pinned)} packages as in {lock.name}")
    shown = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
    return Finding("versions", shown, f"pip install --no-deps -r {lock.name}")


def root_access(root: str) -> Finding:
    """Writes, renames, locks and removes a file below the root of the runs; a root that is not there yet stays so."""
    if run_directory.is_remote(root):
        return _bucket_access(root)
    folder = _existing(root)
    if not folder.is_dir():
        return Finding("root", f"{folder} is a file", "choose another --root")
    probe = folder / f".doctor-{os.getpid()}"
    try:
        probe.write_text("")
        with open(probe) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        probe.replace(probe.with_suffix(".renamed"))
    except OSError as error:
        return Finding(
            "root",
            f"{folder}: {error.strerror}",
            "choose a --root on a disk that this user may write and that has locks",
        )
    finally:
        for left in (probe, probe.with_suffix(".renamed")):
            left.unlink(missing_ok=True)
    there = "can be written and locked" if folder == pathlib.Path(root) else f"will be made in {folder}"
    return Finding("root", f"{root} {there}")


def free_disk(root: str, least_gb: float) -> Finding:
    """Looks how much room there is for checkpoints; in a bucket there is enough, and what counts is this machine's temporary folder."""
    folder = pathlib.Path(tempfile.gettempdir()) if run_directory.is_remote(root) else _existing(root)
    free = shutil.disk_usage(folder).free / 1e9
    remedy = "" if free >= least_gb else f"free some, or choose a --root with {least_gb:g} GB (--least_free_gb)"
    return Finding("disk", f"{free:.1f} GB free in {folder}", remedy)


def devices(timeout: float) -> Finding:
    """Starts JAX in a process of its own, as a trainer would be, and says what it sees."""
    (seen,) = _probes([({}, ())], timeout)
    if isinstance(seen, str):
        return Finding("devices", seen, "see the message; several hosts must run the doctor at the same time")
    hosts = f" of {seen['devices']} in {seen['processes']} processes" if seen["processes"] > 1 else ""
    return Finding(
        "devices", f"{seen['local_devices']} {seen['kind']} ({seen['platform']}){hosts}; place: {seen['place']}"
    )


def masks(engine: LocalEngine, timeout: float) -> Finding:
    """Opens every slot of this machine at the same time: each must see its own devices, and none may be refused for another."""
    try:
        slots = engine.make_slots()
    except ConfigError as error:
        return Finding("masks", error.what, error.remedy)
    found = _probes([(slot.variables, slot.cores) for slot in slots], timeout)
    for slot, seen in zip(slots, found, strict=True):
        if isinstance(seen, str):
            return Finding(
                "masks", f"slot {slot.index}: {seen}", "use fewer slots, or a whole host for each (--chips_per_slot)"
            )
        expected = len(slot.cores) if slot.cores else engine.chips_per_slot
        shown = seen["cores"] if slot.cores else seen["local_devices"]
        if shown != expected:
            return Finding(
                "masks",
                f"slot {slot.index} sees {shown} devices, not {expected}",
                "report it: its mask has no effect here",
            )
    what = f"{len(slots[0].cores)} core(s)" if slots[0].cores else f"{engine.chips_per_slot} chip(s)"
    return Finding("masks", f"{len(slots)} slots of {what}, all open at once")


def distributed_start(timeout: float) -> Finding:
    """Connects two processes of this machine, on the CPU, as hosts of one run are connected."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    found = _probes([(shared | {"JAX_PROCESS_ID": str(number)}, ()) for number in range(2)], timeout)
    wrong = [seen if isinstance(seen, str) else "" for seen in found if isinstance(seen, str) or seen["processes"] != 2]
    if wrong:
        return Finding(
            "distributed",
            wrong[0] or "two processes did not find each other",
            "allow connections to 127.0.0.1, and unset proxies",
        )
    return Finding("distributed", "two processes of this machine found each other")


def engine_use(name: str, asked: Engine | None, root: str) -> Finding:
    """Whether an engine can work: of the one that was asked for everything, of the others what is installed.

    Args:
      name: of the engine.
      asked: with its settings, if it is the one that was asked for.
      root: of the runs.
    """
    packages, commands = _NEEDS[name]
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    missing += [command for command in commands if shutil.which(command) is None]
    if missing:
        return Finding(
            f"engine {name}", f"without {', '.join(missing)}", "install them to use it", required=asked is not None
        )
    if asked is None:
        return Finding(f"engine {name}", "installed")
    try:
        asked.check(root)
    except ConfigError as error:
        return Finding(f"engine {name}", error.what, error.remedy)
    return Finding(f"engine {name}", "ready")


def _bucket_access(root: str) -> Finding:
    probe = epath.Path(root) / f"doctor-{socket.gethostname()}-{os.getpid()}"
    started = time.monotonic()
    try:
        probe.write_text("here")
        read = probe.read_text()
        probe.unlink()
    except Exception as error:  # The clients of buckets raise exceptions of many types; the line says which.
        said = " ".join(str(error).split())[:200]
        return Finding(
            "root",
            f"{root}: {type(error).__name__}: {said}",
            "log in (gcloud auth application-default login), and check the bucket's name",
        )
    if read != "here":
        return Finding("root", f"{root} gave back {read!r} for 'here'", "choose another bucket")
    return Finding("root", f"{root} can be written and read ({time.monotonic() - started:.1f} s)")


def _probes(places: Sequence[tuple[Mapping[str, str], Sequence[int]]], timeout: float) -> list[dict[str, Any] | str]:
    """Runs the probe in all places at once: what each saw, or why it saw nothing.

    Args:
      places: variables, and cores to be pinned to.
      timeout: seconds for all of them.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ended:
        logs = [pathlib.Path(folder) / str(number) for number in range(len(places))]
        started = []
        for log, (variables, cores) in zip(logs, places, strict=True):
            environment = processes.with_project_on_path(os.environ) | dict(variables)
            probe = processes.start(_PROBE, log, cores=cores, environment=environment, inherited=())
            ended.callback(_end, probe)
            started.append(probe)
        deadline = time.monotonic() + timeout
        return [_outcome(probe, log, deadline) for probe, log in zip(started, logs, strict=True)]


def _outcome(probe: subprocess.Popen, log: pathlib.Path, deadline: float) -> dict[str, Any] | str:
    try:
        code = probe.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "JAX did not start in time"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if code:
        return f"JAX did not start (exit code {code}): {lines[-1][:200] if lines else 'it said nothing'}"
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))


def _end(probe: subprocess.Popen) -> None:
    if probe.poll() is None:
        probe.kill()
        probe.wait()


def _existing(root: str) -> pathlib.Path:
    """The root, or the nearest of its parents that is there."""
    path = pathlib.Path(root)
    while not path.exists():
        path = path.parent
    return path
