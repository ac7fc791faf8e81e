"""On what, by which code and from which command a run was computed."""

import functools
import importlib.metadata
import os
import pathlib
import platform
import shutil
import socket
import subprocess
from typing import Any

import jax

from scaling import gin_files

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "plumbline")


def start_facts(first_step: int) -> dict[str, Any]:
    """What `start.json` of an attempt says.

    Args:
      first_step: the step from which the attempt continues.
    """
    return {
        "first_step": first_step,
        "command": gin_files.command_line(),
        "host": socket.gethostname(),
        "versions": versions(),
        "git_commit": git_commit(),
        "device": device(),
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
