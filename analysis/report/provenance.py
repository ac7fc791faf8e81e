"""What a report says about its own origin."""

import importlib.metadata
import pathlib
import platform
import subprocess

from analysis.laws.tables.table import RunsTable
from analysis.report.html import Provenance

_PACKAGES = ("numpy", "scipy", "pandas", "matplotlib")


def provenance_of(table: RunsTable, command: str, project: pathlib.Path, seed: int) -> Provenance:
    """Command, commits, token stores, versions and conventions.

    Args:
      table: the runs.
      command: the command line.
      project: a directory inside the project's git working tree.
      seed: of the bootstrap.
    """
    conventions = table.conventions
    return Provenance((
        ("command", command),
        ("runs from", table.source),
        ("conventions", f"parameters {conventions.parameters}, FLOPs {conventions.flops}, domain {conventions.domain}"),
        ("analysis at commit", git_commit(project)),
        ("runs at commit", _distinct(table, "git_commit")),
        ("token store", _distinct(table, "store_hash")),
        ("bootstrap seed", str(seed)),
        ("versions", versions()),
    ))  # fmt: skip


def versions() -> str:
    """Of Python and of the packages that numbers and plots come from."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {packages}"


def git_commit(directory: pathlib.Path) -> str:
    """The commit of a working tree, marked when files differ from it; `unknown` outside of git."""
    try:
        commit, changed = (
            subprocess.run(
                ["git", *words], cwd=directory, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"  # an installed copy, or a machine without git
    return commit + (" with local changes" if changed else "")


def _distinct(table: RunsTable, column: str) -> str:
    if column not in table.raw.columns:
        return "not recorded"
    used = table.raw[table.raw["run_id"].isin(table.frame["run_id"])][column].dropna().astype(str).unique()
    return ", ".join(sorted(used)) or "not recorded"
