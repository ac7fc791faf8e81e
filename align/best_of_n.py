"""Best-of-n curves: `python -m align.best_of_n --gin_file=configs/align/X.gin --root=runs/align`.

Interrupt or kill it, and the same command continues with the batch of samples that it was at.
"""

from collections.abc import Sequence

from align import stage_verb
from scaling import verbs


def main(argv: Sequence[str]) -> None:
    """Runs the stage."""
    del argv
    stage_verb.run("best_of_n")


if __name__ == "__main__":
    verbs.run(main)
