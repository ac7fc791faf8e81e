"""A whole study of stage two from one Gin file: `python -m align.study --gin_file=configs/align/studies/X.gin`.

Interrupt or kill it, and the same command goes on where it was. `analysis.frontier` reads what it leaves.
"""

from collections.abc import Sequence

from align import study_verb
from scaling import verbs


def main(argv: Sequence[str]) -> None:
    """Fine-tune, reward models and every method, for each parent."""
    del argv
    study_verb.run("study", "StudyConfig")


if __name__ == "__main__":
    verbs.run(main)
