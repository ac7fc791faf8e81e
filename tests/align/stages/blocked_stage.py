"""`python -m tests.align.stages.blocked_stage CONFIG ROOT`: a supervised stage whose first step is never compiled; CONFIG is pickled."""

import pathlib
import pickle
import sys

from align.stages.supervised import Supervised
from tests.align.stages import small_stages
from tests.scaling.training.blocked_compilation import compile_for_ever

if __name__ == "__main__":
    Supervised.step = lambda *arguments: compile_for_ever()
    small_stages.run("sft", pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), pathlib.Path(sys.argv[2]))
