"""Shows what the files under a root say: `python -m launch.status --root=DIR`. It needs no sweep to be running and changes nothing."""

from collections.abc import Sequence
from typing import Any

from absl import flags
from etils import epath

from launch import buckets, manifest, reports, tables
from launch.manifest import Manifest
from scaling import verbs
from scaling.errors import DataError
from scaling.run_directory import RunDirectory, Spec

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_SWEEP = flags.DEFINE_string("sweep", None, "Only runs of this sweep: its name, or its id.")


def main(argv: Sequence[str]) -> None:
    """Prints the table of all run directories below the root."""
    del argv
    buckets.require_reachable(_ROOT.value)
    directories = run_directories(_ROOT.value, _SWEEP.value)
    print(tables.runs_table(directories))
    print(tables.counts(directories))
    for sweep_id in manifest.sweep_ids(_ROOT.value):
        if _SWEEP.value in (None, sweep_id, sweep_id.rpartition("-")[0]):
            _show_submission(manifest.read(_ROOT.value, sweep_id))


def _show_submission(sweep: Manifest) -> None:
    """What the last submission of a sweep was, and what its workers report."""
    if not sweep.submissions:
        return
    last = sweep.submissions[-1]
    print(f"sweep {sweep.sweep_id}: {len(last.jobs)} jobs submitted to the engine {last.engine} at {last.submitted}")
    found = reports.read_all(manifest.workers_folder(_ROOT.value, sweep.sweep_id), since=last.submitted)
    if found:
        print(tables.workers_lines(found))


def run_directories(root: str, sweep: str | None) -> list[RunDirectory]:
    """The frozen runs under a root, a trunk's branches after it, by size.

    Args:
      root: the directory of the run directories.
      sweep: keeps the runs of one sweep, by its name or id; None keeps all.

    Raises:
      DataError: there is none.
    """
    folder = epath.Path(root)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--root={root} is a file", "give the directory that holds run directories")
    paths = [path for path in folder.iterdir() if (path / "spec.json").exists()] if folder.exists() else []
    found = [(RunDirectory(path), RunDirectory(path).spec) for path in paths]
    kept = [item for item in found if sweep is None or sweep in (item[1].sweep_id, item[1].sweep_id.rpartition("-")[0])]
    if not kept:
        raise DataError(
            f"there is no run under {root}" + (f" of the sweep {sweep!r}" if sweep else ""), "check --root and --sweep"
        )

    return [directory for directory, _ in sorted(kept, key=lambda item: _order(item[1]))]


def _order(spec: Spec) -> tuple[Any, ...]:
    trunk = spec.parent.run_id if spec.parent else spec.run_id
    return spec.config.model.width, spec.config.seed, trunk, spec.kind == "branch", spec.config.tokens


if __name__ == "__main__":
    verbs.run(main)
