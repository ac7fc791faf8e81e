"""Runs a script where Google's object store is a stand-in (`fake_bucket.py`).

Needs root (a network of its own), openssl and the extra `bucket`; PLUMBLINE_BUCKET_PACKAGES may name a folder that holds the latter's packages.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest

from scaling.errors import InterruptedRunError
from scaling.training.interruption import Interruption
from tests.conftest import PROJECT_ROOT

PACKAGES = os.environ.get("PLUMBLINE_BUCKET_PACKAGES", "")


def result_of(folder: pathlib.Path, script: str, arguments: Sequence[str]) -> tuple[Any, dict[str, int]]:
    """What a Python script prints as JSON after "RESULT ", and how often it wrote each object; skips the test where there can be no stand-in.

    Args:
      folder: for the script and the stand-in's files.
      script: its text.
      arguments: of its command line.
    """
    _require_namespaces()
    (folder / "script.py").write_text(script)
    inside = ["bash", str(PROJECT_ROOT / "tests" / "in_fake_bucket.sh"), sys.executable, str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), PACKAGES]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        ["unshare", "--mount", "--net", *inside, sys.executable, str(folder / "script.py"), *arguments],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    result = json.loads(ended.stdout.rpartition("RESULT ")[2].splitlines()[0])
    return result, json.loads((folder / "puts.json").read_text())


@contextlib.contextmanager
def told_to_stop(loop: ModuleType, step: int, interruption: Interruption) -> Iterator[None]:
    """Inside the block, what a loop (a module with a function `_at_boundary`) trains is told to stop at a step, and stops."""
    at_boundary = loop._at_boundary

    def signalled(session, state, done):
        if done == step:
            interruption.signal_name = "SIGTERM"
        at_boundary(session, state, done)

    loop._at_boundary = signalled
    with contextlib.suppress(InterruptedRunError):
        yield
    loop._at_boundary = at_boundary


def _has_client() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:  # Not even the packages above it are there.
        return False


def _require_namespaces() -> None:
    if not PACKAGES and not _has_client():
        pytest.skip("google-cloud-storage is not installed (the extra `bucket`, or PLUMBLINE_BUCKET_PACKAGES)")
    if not all(map(shutil.which, ("unshare", "ip", "openssl"))):
        pytest.skip("unshare, ip or openssl is missing")
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network of its own")
