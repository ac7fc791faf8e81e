"""A store of examples made of a policy's own samples: `python -m align.collect --gin_file=configs/align/X.gin`.

Pairs or rankings labelled by a simulated rater of known noise, or the best samples for rejection-sampling fine-tuning. Killed, the same command continues.
"""

from collections.abc import Sequence

from absl import flags

from scaling import gin_files, verbs
from scaling.errors import ConfigError
from scaling.training.interruption import Interruption

_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be collected, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """Samples, labels and writes."""
    del argv
    verbs.share_compilations()
    # Imported here, because the line above must come before JAX is, and --help needs none of it.
    from align.stages import collecting

    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file is given", "see configs/align/")
    config = gin_files.load(collecting.CollectConfig, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    if _DRY_RUN.value:
        print(collecting.planned(config))
        return
    with Interruption() as interruption:
        store = collecting.collect(config, interruption)
    print(f"{store.path}: {store.kind}, store_hash {store.store_hash}")


if __name__ == "__main__":
    verbs.run(main)
