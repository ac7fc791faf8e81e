"""Shows what the files under a root say: `python -m launch.status --root=DIR`. It needs no sweep to be running and changes nothing."""

from collections.abc import Sequence

from absl import flags

from launch import buckets, listing, manifest, reports, tables
from launch.manifest import Manifest
from scaling import verbs

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_SWEEP = flags.DEFINE_string("sweep", None, "Only runs of this sweep: its name, or its id.")


def main(argv: Sequence[str]) -> None:
    """Prints the table of all run directories below the root."""
    del argv
    buckets.require_reachable(_ROOT.value)
    runs = listing.below(_ROOT.value, _SWEEP.value)
    print(tables.runs_table(runs))
    print(tables.counts(runs))
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


if __name__ == "__main__":
    verbs.run(main)
