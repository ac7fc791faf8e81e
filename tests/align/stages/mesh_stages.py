"""Runs stages on eight simulated devices, for test_meshes.py: `python -m tests.align.stages.mesh_stages STAGES ROOT`; STAGES is a pickled list."""

import pathlib
import pickle
import sys

from tests.align.stages import small_stages


def main(stages: str, root: str) -> None:
    for kind, config in pickle.loads(pathlib.Path(stages).read_bytes()):
        directory, status = small_stages.run(kind, config, pathlib.Path(root))
        assert status == "completed", directory.record()


if __name__ == "__main__":
    main(*sys.argv[1:])
