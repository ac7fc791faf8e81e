"""What the verbs of stage two share: flags, --dry_run, exit codes. A verb names its kind of stage and nothing else."""

from absl import flags

from scaling import distributed, gin_files, verbs
from scaling.errors import ConfigError, DivergedError
from scaling.training.interruption import Interruption

_ROOT = flags.DEFINE_string("root", "runs/align", "Directory that holds the runs of stage two.")
_NAME = flags.DEFINE_string("name", "", "A readable name for the run.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would run, and write nothing.")


def run(kind: str) -> None:
    """Runs the stage that the Gin files describe.

    Raises:
      ConfigError: no Gin file is given, or one cannot be used.
      DivergedError: the stage diverged; its record says so.
    """
    verbs.share_compilations()
    # Imported here, because the line above must come before JAX is, and --help needs none of it.
    from align.stages import running
    from align.stages.catalogue import KINDS

    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file is given", "see configs/align/")
    loaded = gin_files.load(KINDS[kind].config, verbs.gin_file_flags(), verbs.gin_binding_flags())
    spec = KINDS[kind].spec(loaded.config, _NAME.value)
    print(f"{spec.run_id} {spec.kind}: parents {spec.parents}, data { ({k: v[:12] for k, v in spec.data.items()}) }")
    if _DRY_RUN.value:
        return
    distributed.start_alone("a stage of stage two")
    with Interruption() as interruption:
        directory, status = running.run(kind, loaded.config, _ROOT.value, interruption, _NAME.value, loaded)
    print(f"{directory.path}: {status}")
    if status == "diverged":
        raise DivergedError(f"{directory.path} diverged, as its record says")
