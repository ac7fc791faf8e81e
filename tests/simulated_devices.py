"""Programs on eight simulated devices, each in a process of its own, because JAX reads their number when it starts."""

import os
import subprocess
import sys

from tests.conftest import PROJECT_ROOT


def output_of(*arguments: str | os.PathLike[str], timeout: float = 900) -> str:
    """Runs Python with these arguments on eight CPU devices, and returns what it printed."""
    devices = "--xla_force_host_platform_device_count=8"
    # NPROC widens the thread pool: JAX 0.10.2 deadlocks with several CPU devices in one process when it sees few processors.
    environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}".strip(), "NPROC": "32"}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout
