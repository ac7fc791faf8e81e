"""One policy against a ladder of proxies: `python -m align.laboratory --gin_file=configs/align/laboratories/proxies.gin`.

Interrupt or kill it, and the same command goes on where it was. `analysis.frontier` reads what it leaves, and fits a law to each proxy.
"""

from collections.abc import Sequence

from align import study_verb
from scaling import verbs


def main(argv: Sequence[str]) -> None:
    """The gold-reward laboratory."""
    del argv
    study_verb.run("laboratory", "LaboratoryConfig")


if __name__ == "__main__":
    verbs.run(main)
