"""Goes on with a sweep from its manifest: `python -m launch.resume --root=DIR --sweep_id=S`; needs none of the sweep's Gin files.

It submits whatever has no record yet, to the engine of the last submission or to another (`--engine`). After a crash, a preemption, a lost controller
or a cancelled job it is always the same command. Exit codes as for `launch.sweep`.
"""

from collections.abc import Sequence

from absl import flags
from etils import epath

from launch import conduct, engine_flags, manifest, tables
from launch.engines import catalogue
from launch.engines.engine import Engine
from launch.manifest import Manifest
from scaling import verbs
from scaling.errors import ConfigError
from scaling.run_directory import RunDirectory

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_SWEEP_ID = flags.DEFINE_string("sweep_id", None, "The sweep; without it the only one of the root.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the jobs and their cost, and submit nothing.")
_WATCH = flags.DEFINE_bool(
    "watch", True, "Show progress to the end; --nowatch leaves after submitting to an engine elsewhere."
)


def main(argv: Sequence[str]) -> None:
    """Submits what has no record."""
    del argv
    root = _ROOT.value
    sweep = manifest.read(root, manifest.sweep_id_of(root, _SWEEP_ID.value))
    for run_id in (run_id for run in sweep.runs for run_id in run.run_ids):
        # Names what is missing before anything is submitted.
        RunDirectory(epath.Path(root) / run_id).spec_values()
    engine = _engine(sweep)
    submission = conduct.submission_of(sweep.unfinished(root), sweep.sweep_id, root, engine)
    if _DRY_RUN.value:
        print(tables.jobs_table(submission))
        print(tables.submission_text(submission))
        return
    if not submission.jobs:
        conduct.conclude(root, sweep, conduct.Outcome())
        return
    if not _WATCH.value and catalogue.is_attached(engine):
        raise ConfigError(
            f"the {engine.name} engine ends with its command, so --nowatch would stop it", "leave --nowatch out"
        )
    engine.check(root)
    sweep = conduct.submit(sweep, submission, engine)
    if _WATCH.value:
        conduct.conclude(root, sweep, conduct.watch(root, sweep, engine))


def _engine(sweep: Manifest) -> Engine:
    last = sweep.submissions[-1] if sweep.submissions else None
    if engine_flags.was_named() or last is None or verbs.gin_file_flags():
        return engine_flags.from_gin(verbs.gin_file_flags(), verbs.gin_binding_flags())
    return engine_flags.from_settings(last.engine, last.settings)


if __name__ == "__main__":
    verbs.run(main)
