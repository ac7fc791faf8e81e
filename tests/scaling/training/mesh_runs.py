"""Trains on eight simulated devices, for test_meshes.py: `python mesh_runs.py STORE ROOT` prints one JSON object."""

import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np

from scaling.run_config import CheckpointConfig, ExecutionConfig
from tests.scaling.training import small_runs

MESHES = {"8x1x1": (8, 1, 1), "2x2x2": (2, 2, 2), "1x4x2": (1, 4, 2)}


def config(store: str, mesh: tuple[int, int, int]):
    from scaling.models import ladder

    data, fsdp, tensor = mesh
    return small_runs.config(
        store,
        # Two heads and an even vocabulary, so that everything divides by the tensor axis.
        model=dataclasses.replace(ladder.llama(width=32, vocab_size=259), vocab_size=260),
        tokens=20 * 512,
        execution=ExecutionConfig(data=data, fsdp=fsdp, tensor=tensor),
        checkpoint=CheckpointConfig(every_tokens=10 * 512, keep=2),
    )


def main(store: str, root: pathlib.Path) -> dict[str, object]:
    results = {}
    runs = {}
    for name, mesh in MESHES.items():
        runs[name] = small_runs.train(root / name, config(store, mesh))[0]
        results[name] = [row["loss"] for row in runs[name].metrics()]
    expected = small_runs.final_parameters(runs["2x2x2"])
    for name in ("1x4x2", "8x1x1"):
        results[f"resumed on {name}"] = _resumed(root, store, runs["2x2x2"].path, MESHES[name], expected)
    return results


def _resumed(root, store, source, mesh, expected) -> float:
    """Half the run of `source` and the rest on another mesh: the largest difference from having stayed."""
    place = root / f"resumed-{mesh}"
    shutil.copytree(source, place / source.name)
    (place / source.name / "record.json").unlink()
    shutil.rmtree(place / source.name / "checkpoints" / "20")
    run = small_runs.train(place, config(store, mesh))[0]
    assert run.attempts()[-1].metrics()[0]["step"] == 11
    actual = small_runs.final_parameters(run)
    return max(float(np.abs(actual[name] - value).max()) for name, value in expected.items())


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(sys.argv[1], pathlib.Path(sys.argv[2]))))
