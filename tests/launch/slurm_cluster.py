"""A Slurm cluster of this machine alone: munged, slurmctld and one slurmd on free ports, with all their files in one temporary folder.

It needs Debian's slurmctld, slurmd, slurm-client and munge, and root, as slurmd starts jobs for their users. Two partitions share the node: what is
submitted to `high` preempts what runs in `low`, which is told 20 s before.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

# cred_expire: a requeued job waits until the credential of its last start has expired, by default two minutes.
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{controller_parameters}
JobRequeue=1
KillWait=10
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=20 MaxTime=INFINITE State=UP
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def why_absent() -> str:
    """Why no cluster can be started here; empty where one can."""
    missing = [program for program in PROGRAMS if _found(program) is None]
    if missing:
        return f"no Slurm here ({', '.join(missing)} missing): apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd starts jobs for their users, which needs root"


@contextlib.contextmanager
def running(cores: int = 2, *, user_signal: bool = False) -> Iterator[pathlib.Path]:
    """Starts a cluster, points SLURM_CONF to it, and stops it in the end with all that it started.

    Args:
      cores: of its node, whatever this machine has.
      user_signal: whether a preemption sends the signal that a job asked for (SlurmctldParameters=preempt_send_user_signal) beside SIGTERM.

    Yields:
      the folder with its files and logs.
    """
    # Short, because the path of a socket has a limit of 108 characters.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    started: list[subprocess.Popen] = []
    previous = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        _write_files(folder, cores, user_signal)
        for command in _daemons(folder):
            started.append(_start(command, folder))
        _wait(lambda: "idle" in _output("sinfo", "--noheader", "--format=%t"), folder)
        yield folder
    finally:
        _stop(started)
        os.environ.pop("SLURM_CONF")
        if previous is not None:
            os.environ["SLURM_CONF"] = previous
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: pathlib.Path, cores: int, user_signal: bool) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    controller_port, daemon_port = _free_ports(2)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            folder=folder,
            cores=cores,
            controller_port=controller_port,
            daemon_port=daemon_port,
            controller_parameters="SlurmctldParameters=preempt_send_user_signal" if user_signal else "",
        )
    )


def _daemons(folder: pathlib.Path) -> Iterator[list[str]]:
    files = {"key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed", "socket": "munge.socket"}
    yield [
        _found("munged"),
        "--foreground",
        "--force",
        f"--log-file={folder}/munge.log",
        *(f"--{option}={folder / name}" for option, name in files.items()),
    ]
    yield [_found("slurmctld"), "-D", "-f", f"{folder}/slurm.conf"]
    yield [_found("slurmd"), "-D", "-f", f"{folder}/slurm.conf"]


def _start(command: list[str], folder: pathlib.Path) -> subprocess.Popen:
    with open(folder / "daemons.log", "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    if command[0] == _found("munged"):
        _wait((folder / "munge.socket").exists, folder)
    return process


def _stop(daemons: list[subprocess.Popen]) -> None:
    """Cancels every job, then ends the daemons in the reverse order."""
    if len(daemons) == 3:
        _output("scancel", "--user=root")
        deadline = time.monotonic() + 30
        while _output("squeue", "--noheader") and time.monotonic() < deadline:
            time.sleep(0.5)
    for daemon in reversed(daemons):
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(timeout=15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _wait(condition: Callable[[], bool], folder: pathlib.Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in sorted(folder.glob("*.log")))
            raise TimeoutError(f"the cluster did not start:\n{logs}")
        time.sleep(0.2)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


def _found(program: str) -> str | None:
    """Daemons lie where a user's PATH need not lead."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
