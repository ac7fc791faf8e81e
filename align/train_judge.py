"""Trains a judge of texts on human ratings and freezes it, to be a gold reward.

python -m align.train_judge --gin_file=configs/align/gold/movie_judge.gin
"""

from collections.abc import Sequence

from absl import flags

from align.gold.rating_judge import JudgeConfig, train_judge
from scaling import gin_files, verbs
from scaling.errors import ConfigError

_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be trained, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file was given", "name configs/align/gold/movie_judge.gin")
    config = gin_files.load(JudgeConfig, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    if _DRY_RUN.value:
        print(f"{config.output}: a judge of {', '.join(config.domains)}, penalties {config.penalties}")
        return
    judge = train_judge(config)
    for split, quality in judge.description["quality"].items():
        print(
            f"{config.output} {split}: {quality['texts']:,} texts, correlation with people {quality['correlation']:.3f}, "
            f"sign accuracy {quality['sign_accuracy']:.3f}"
        )
    print(f"{config.output}: penalty {judge.description['penalty']}, identity {judge.identity}")


if __name__ == "__main__":
    verbs.run(main)
