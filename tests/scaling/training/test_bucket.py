"""A run whose directory lies in a bucket: trained through the real clients against a stand-in of the store, interrupted and continued.

Needs root (a network of its own), openssl and the extra `bucket`; PLUMBLINE_BUCKET_PACKAGES may name a folder that holds the latter's packages.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from scaling import gin_files
from scaling.run_config import RunConfig
from tests.conftest import PROJECT_ROOT
from tests.scaling.training import small_runs

PACKAGES = os.environ.get("PLUMBLINE_BUCKET_PACKAGES", "")

SCRIPT = """
import contextlib, json, pathlib, signal, sys
from scaling import gin_files, run_directory, run_stores
from scaling.errors import InterruptedRunError
from scaling.run_config import RunConfig
from scaling.training import run as runs
from scaling.training.interruption import Interruption

loaded = gin_files.load(RunConfig, [sys.argv[1]])
(directory,) = run_directory.freeze("gs://laboratory/runs", loaded, run_stores.hashes_of(loaded.config))
assert directory.status() == "new"
with Interruption() as interruption:
    at_boundary = runs._at_boundary
    def signalled(session, state, done):
        if done == 10:
            interruption.signal_name = "SIGTERM"
        at_boundary(session, state, done)
    runs._at_boundary = signalled
    with contextlib.suppress(InterruptedRunError):
        runs.train_run(directory, interruption)
    runs._at_boundary = at_boundary
assert directory.status() == "interrupted", directory.status()
with Interruption() as interruption:
    assert runs.train_run(directory, interruption) == "completed"
steps = [row["step"] for row in directory.metrics()]
attempts = [attempt.first_step for attempt in directory.attempts()]
print("RESULT " + json.dumps({"record": directory.record(), "steps": steps, "attempts": attempts, "held": directory.is_held()}))
"""


def _has_client() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:  # Not even the packages above it are there.
        return False


def require_namespaces() -> None:
    if not PACKAGES and not _has_client():
        pytest.skip("google-cloud-storage is not installed (the extra `bucket`, or PLUMBLINE_BUCKET_PACKAGES)")
    if not all(map(shutil.which, ("unshare", "ip", "openssl"))):
        pytest.skip("unshare, ip or openssl is missing")
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network of its own")


@pytest.mark.slow
def test_a_run_in_a_bucket_is_interrupted_continued_and_recorded(byte_store, tmp_path):
    require_namespaces()
    gin_file = small_runs.write_gin(tmp_path / "run.gin", byte_store, steps=20, checkpoint_steps=5)
    (tmp_path / "script.py").write_text(SCRIPT)
    inside = ["bash", str(PROJECT_ROOT / "tests" / "in_fake_bucket.sh"), sys.executable, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), PACKAGES]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        ["unshare", "--mount", "--net", *inside, sys.executable, str(tmp_path / "script.py"), gin_file],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout.rpartition("RESULT ")[2].splitlines()[0])
    (alone,) = small_runs.train(tmp_path / "disk", gin_files.load(RunConfig, [gin_file]).config)
    assert found["steps"] == list(range(1, 21)) and found["attempts"] == [0, 10] and not found["held"]
    assert found["record"]["losses"] == alone.record()["losses"]
    # Google lets an object be replaced about once a second: the curve is written before each checkpoint, not at each row.
    puts = json.loads(pathlib.Path(tmp_path / "puts.json").read_text())
    curves = [count for name, count in puts.items() if name.endswith("metrics.jsonl")]
    assert len(curves) == 2 and max(curves) <= 8, puts
