"""Stages side by side in a process of their own: `python -m tests.align.stages.side_by_side_process STAGES ROOT`, STAGES a pickled list.

It exits as a verb does.
"""

import pathlib
import pickle
import sys

from align.stages import side_by_side
from scaling.errors import PlumblineError
from scaling.training.interruption import Interruption


def main(stages: str, root: str) -> None:
    with Interruption() as interruption:
        try:
            side_by_side.run(pickle.loads(pathlib.Path(stages).read_bytes()), root, 2, interruption)
        except PlumblineError as error:
            print(error)
            sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
