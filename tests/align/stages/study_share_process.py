"""One share of a study in a process of its own: `python -m tests.align.stages.study_share_process STUDY ROOT SHARE`, STUDY a pickled configuration.

It exits as a verb does.
"""

import pathlib
import pickle
import sys

from align.stages import study
from align.stages.shares import Share
from scaling.errors import PlumblineError
from scaling.training.interruption import Interruption


def main(config: str, root: str, share: str) -> None:
    with Interruption() as interruption:
        try:
            study.run(pickle.loads(pathlib.Path(config).read_bytes()), root, interruption, 1, Share.parsed(share))
        except PlumblineError as error:
            print(error)
            sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
