"""Reinforcement learning from a reward (PPO, RLOO, GRPO): `python -m align.ppo --gin_file=configs/align/X.gin --root=runs/align`.

Interrupt it and it saves and exits with 75; kill it and the same command continues from the last checkpoint.
"""

from collections.abc import Sequence

from align import stage_verb
from scaling import verbs


def main(argv: Sequence[str]) -> None:
    """Runs the stage."""
    del argv
    stage_verb.run("ppo")


if __name__ == "__main__":
    verbs.run(main)
