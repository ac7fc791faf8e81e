"""On what, by which code and from which command a run was computed."""

import functools
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import sys
from typing import Any

import jax

from scaling import gin_files
from scaling.run_directory import Attempt, RunDirectory
from scaling.training import source_patch

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "plumbline")


# By which schedulers name the job that a process belongs to.
_SCHEDULERS = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SKYPILOT_TASK_ID", "SKYPILOT_NODE_RANK")


def start_attempt(directory: RunDirectory, first_step: int) -> Attempt:
    """Begins an attempt whose `start.json` says where, from which code and by which command; `code.patch` beside it holds what the commit lacks.

    None of it is part of the run's identity.

    Args:
      directory: whose lock is held.
      first_step: the step from which the attempt continues.
    """
    attempt = directory.start_attempt(start_facts(first_step))
    patch = source_patch.patch()
    if 0 < len(patch) <= source_patch.LONGEST_BYTES:
        (attempt.path / "code.patch").write_bytes(patch)
    return attempt


def start_facts(first_step: int) -> dict[str, Any]:
    """What `start.json` of an attempt says.

    Args:
      first_step: the step from which the attempt continues.
    """
    patch = source_patch.patch()
    return {
        "machine": machine(),
        "code": {"patch_bytes": len(patch), "patch_sha256": hashlib.sha256(patch).hexdigest() if patch else ""},
        "first_step": first_step,
        "command": gin_files.command_line(),
        "host": socket.gethostname(),
        "versions": versions(),
        "git_commit": git_commit(),
        "device": device(),
    }


def machine() -> dict[str, Any]:
    """The machine beside its accelerator, and the scheduler's name for the job where there is one."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": pages * page_bytes,
        "interpreter": sys.executable,
        "processes": jax.process_count(),
        "scheduler": {name: os.environ[name] for name in _SCHEDULERS if name in os.environ},
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # The project itself may run from a checkout that was not installed; its commit is recorded besides.
            continue
    return found


@functools.cache
def git_commit() -> str:
    """The commit of the checkout, with "+changes" when files differ from it; empty outside a repository and where git is missing."""
    if not (gin_files.PROJECT_ROOT / ".git").exists() or shutil.which("git") is None:
        return ""
    head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return head + ("+changes" if changed else "") if head else ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(gin_files.PROJECT_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@functools.cache
def device() -> dict[str, Any]:
    """The accelerator, or the processor and how many of its cores this process may use."""
    first = jax.devices()[0]
    facts = {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
    }
    if first.platform == "cpu":
        facts |= {"kind": _processor(), "cores": len(os.sched_getaffinity(0))}
    return facts


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")  # Linux only.
    lines = cpuinfo.read_text(encoding="utf8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
