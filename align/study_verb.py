"""What the verbs that run many stages share: flags, --dry_run, exit codes."""

import importlib
from collections import Counter

from absl import flags

from scaling import distributed, gin_files, verbs
from scaling.errors import ConfigError, DivergedError
from scaling.training.interruption import Interruption

_ROOT = flags.DEFINE_string("root", None, "Overrides `root` of the Gin file, the directory of all runs.")
_PROCESSES = flags.DEFINE_integer(
    "processes",
    None,
    "Stages at a time, where they do not depend on each other; by default one for each CPU core, or one on an accelerator.",
    lower_bound=1,
)
_SHARE = flags.DEFINE_string(
    "share",
    "0/1",
    "The share of the policies of this command, where several have one disk: its index, from 0, and how many there are.",
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the stages in order, and run none.")


def run(module: str, config_name: str) -> None:
    """Runs the stages that are not done yet.

    Args:
      module: of `align.stages`, with functions `planned` and `run`.
      config_name: of the dataclass there that the Gin files bind.

    Raises:
      BadInputError: no Gin file is given, or a stage cannot be run.
      DivergedError: a stage diverged; its record says so.
    """
    verbs.share_compilations()
    # Imported here, because the line above must come before JAX is, and --help needs none of it.
    stages = importlib.import_module(f"align.stages.{module}")
    from align.stages.shares import Share

    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file is given", "see configs/align/studies/ and configs/align/laboratories/")
    config_type = getattr(stages, config_name)
    config = gin_files.load(config_type, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    share = Share.parsed(_SHARE.value)
    if _DRY_RUN.value:
        print("\n".join(stages.planned(config, share)))
        return
    distributed.start_alone(f"align.{module}")
    root = _ROOT.value or config.root
    with Interruption() as interruption:
        statuses = stages.run(config, root, interruption, _PROCESSES.value or _default_processes(), share)
    print(f"{root}: " + ", ".join(f"{count} {status}" for status, count in Counter(statuses.values()).items()))
    diverged = [name for name, status in statuses.items() if status == "diverged"]
    if diverged:
        raise DivergedError(
            f"{len(diverged)} of {len(statuses)} stages diverged, as their records say: {', '.join(diverged)}"
        )


def _default_processes() -> int:
    import jax

    from align.stages import side_by_side

    return side_by_side.default_processes() if jax.default_backend() == "cpu" else 1
