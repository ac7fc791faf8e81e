"""The doctor: every finding can be good and bad, and JAX stays out of its own process."""

import errno
import fcntl
import pathlib
import subprocess
import sys

import pytest

from launch import health
from launch.engines.local.engine import LocalEngine
from launch.engines.sky.engine import SkyEngine
from tests.conftest import PROJECT_ROOT

# Sees what its variables show it, as JAX would.
HONEST = """
import json, os
chips = os.environ.get("TPU_VISIBLE_CHIPS", "0,1,2,3,4,5,6,7").split(",")
print("a warning before the answer")
print(json.dumps({"place": "single", "process": 0, "processes": int(os.environ.get("JAX_NUM_PROCESSES", "1")), "devices": 8,
    "local_devices": len(chips), "platform": "tpu", "kind": "TPU v5 lite", "cores": len(os.sched_getaffinity(0))}))
"""
BLIND = HONEST.replace('len(chips), "platform"', '8, "platform"')
# What libtpu says where two processes are shown the same chips.
LOCKED = (
    "import os, sys; sys.exit('The TPU is already in use by process 7') if os.environ['TPU_VISIBLE_CHIPS'] == '4,5,6,7' else 0\n"
    + HONEST
)
SLOW = "import time; time.sleep(60)"


@pytest.fixture
def probe(monkeypatch):
    """Another program in place of the one that starts JAX."""

    def use(script: str) -> None:
        monkeypatch.setattr(health, "_PROBE", (sys.executable, "-c", script))

    return use


def test_packages_that_differ_from_the_lock_are_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# numpy==0.1\npytest==0.0.1\nno-such-package==1.0\n")
    finding = health.versions(lock)
    assert finding.failed and "pytest is " in finding.says and "no-such-package is missing, not 1.0" in finding.says
    assert "numpy" not in finding.says
    lock.write_text(f"pytest=={pytest.__version__}\n")
    assert str(health.versions(lock)) == "ok     versions: 1 packages as in requirements.lock"


def test_a_root_is_written_locked_and_left_clean(tmp_path, monkeypatch):
    finding = health.root_access(str(tmp_path))
    assert not finding.failed and "can be written and locked" in finding.says
    assert "will be made in" in health.root_access(str(tmp_path / "a" / "b")).says
    assert list(tmp_path.iterdir()) == []

    def without_locks(handle, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    finding = health.root_access(str(tmp_path))
    assert finding.failed and "No locks available" in finding.says
    assert list(tmp_path.iterdir()) == []


def test_a_root_below_a_file_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    assert health.root_access(str(tmp_path / "file" / "runs")).failed


def test_a_full_disk_is_wrong(tmp_path):
    assert not health.free_disk(str(tmp_path / "runs"), 0.0).failed
    assert health.free_disk(str(tmp_path / "runs"), 1e9).failed


def test_an_engine_that_was_not_asked_for_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    idle = health.engine_use("sky", None, "gs://bucket/runs")
    assert not idle.failed and str(idle).startswith("-") and "without sky" in idle.says
    assert health.engine_use("sky", SkyEngine(region="us-west4"), "gs://bucket/runs").failed
    assert not health.engine_use("serial", None, "runs").failed


def test_the_engine_that_was_asked_for_is_checked_against_the_root(tmp_path):
    assert not health.engine_use("serial", LocalEngine(), str(tmp_path)).failed
    finding = health.engine_use("serial", LocalEngine(), "gs://bucket/runs")
    assert finding.failed and "local disk" in finding.says


def test_masks_are_opened_at_once_and_each_sees_its_own(probe):
    engine = LocalEngine(accelerator="tpu", chips=8, chips_per_slot=4)
    probe(HONEST)
    assert str(health.masks(engine, 30.0)) == "ok     masks: 2 slots of 4 chip(s), all open at once"
    probe(BLIND)
    assert "slot 0 sees 8 devices, not 4" in health.masks(engine, 30.0).says
    probe(LOCKED)
    finding = health.masks(engine, 30.0)
    assert finding.failed and "slot 1: JAX did not start (exit code 1): The TPU is already in use" in finding.says


def test_slots_of_a_cpu_are_pinned(probe):
    probe(HONEST)
    finding = health.masks(LocalEngine(accelerator="cpu", places=2), 30.0)
    assert not finding.failed and "2 slots" in finding.says


def test_a_mask_that_libtpu_does_not_know_is_wrong(probe):
    probe(HONEST)
    assert "libtpu" in health.masks(LocalEngine(accelerator="tpu", chips=8, chips_per_slot=2), 30.0).says


def test_devices_that_never_answer_are_wrong(probe):
    probe(SLOW)
    finding = health.devices(0.5)
    assert finding.failed and "JAX did not start in time" in finding.says


def test_processes_that_do_not_find_each_other_are_wrong(probe):
    probe(HONEST)
    assert not health.distributed_start(30.0).failed
    probe(HONEST.replace('int(os.environ.get("JAX_NUM_PROCESSES", "1"))', "1"))
    assert health.distributed_start(30.0).failed


def test_an_unknown_bucket_is_one_line(monkeypatch):
    """The clients of buckets raise what they like; here one that cannot log in."""

    class Unreachable:
        def __init__(self, path):
            self.path = path

        def __truediv__(self, name):
            return self

        def write_text(self, text):
            raise RuntimeError("could not\nresolve host")

    monkeypatch.setattr(health.epath, "Path", Unreachable)
    finding = health.root_access("gs://nowhere/runs")
    assert finding.failed and "RuntimeError: could not resolve host" in finding.says


def doctor(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "launch.doctor", *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def test_the_verb_says_what_is_wrong_and_exits_with_2(tmp_path):
    found = doctor(f"--root={tmp_path}", "--nodevices", "--least_free_gb=1e9")
    assert found.returncode == 2, found.stderr
    lines = found.stdout.splitlines()
    assert any(line.startswith("WRONG  disk: ") for line in lines) and any(
        line.startswith("ok     root: ") for line in lines
    )
    assert "of the findings above are wrong" in found.stderr


def test_the_doctor_starts_without_jax():
    code = "import sys, launch.doctor; sys.exit('jax' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_jax_itself_is_looked_at(tmp_path, monkeypatch):
    """The real probe: one device, two pinned slots at once, two processes that connect."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "(cpu); place: single" in health.devices(300.0).says
    assert not health.masks(LocalEngine(places=2), 300.0).failed
    assert not health.distributed_start(300.0).failed
    assert list(pathlib.Path(tmp_path).iterdir()) == []
