"""A whole study of stage two from one Gin file: `python -m align.study --gin_file=configs/align/studies/X.gin`.

Interrupt or kill it, and the same command goes on where it was. `analysis.frontier` reads what it leaves.
"""

from collections import Counter
from collections.abc import Sequence

from absl import flags

from scaling import distributed, gin_files, verbs
from scaling.errors import ConfigError, DivergedError
from scaling.training.interruption import Interruption

_ROOT = flags.DEFINE_string("root", None, "Overrides StudyConfig.root, the directory of all runs.")
_PROCESSES = flags.DEFINE_integer(
    "processes",
    None,
    "Policies at a time; by default one for each CPU core, or one on an accelerator.",
    lower_bound=1,
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the stages in order, and run none.")


def main(argv: Sequence[str]) -> None:
    """Runs the stages that are not done yet."""
    del argv
    verbs.share_compilations()
    # Imported here, because the line above must come before JAX is, and --help needs none of it.
    from align.stages import study

    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file is given", "see configs/align/studies/")
    config = gin_files.load(study.StudyConfig, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    if _DRY_RUN.value:
        print("\n".join(study.planned(config)))
        return
    distributed.start_alone("a study of stage two")
    root = _ROOT.value or config.root
    with Interruption() as interruption:
        statuses = study.run(config, root, interruption, _PROCESSES.value or _default_processes())
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


if __name__ == "__main__":
    verbs.run(main)
