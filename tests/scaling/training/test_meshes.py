"""Data, fsdp and tensor parallel training on eight simulated devices computes what one device computes."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from scaling.data.vocabularies import ByteVocabulary
from tests.conftest import PROJECT_ROOT
from tests.scaling.byte_stores import write_byte_store
from tests.scaling.training import mesh_runs, small_runs


class PaddedByteVocabulary(ByteVocabulary):
    """260 ids, the last never used: an even number, which two tensor-parallel devices can share."""

    size = ByteVocabulary.size + 1

    @property
    def pieces(self):
        return [*super().pieces, b""]


@pytest.fixture(scope="module")
def even_store(tmp_path_factory) -> str:
    return write_byte_store(tmp_path_factory.mktemp("even") / "store", 60_000, PaddedByteVocabulary())


@pytest.mark.slow
def test_meshes_agree_and_checkpoints_move_between_them(even_store, tmp_path):
    # NPROC: JAX 0.10.2 deadlocks with several CPU devices in one process when it sees few processors.
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "32"}
    result = subprocess.run(
        [sys.executable, "-m", "tests.scaling.training.mesh_runs", even_store, str(tmp_path)],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.rpartition("RESULT ")[2])
    alone = small_runs.train(pathlib.Path(tmp_path) / "1x1x1", mesh_runs.config(even_store, (1, 1, 1)))[0]
    expected = [row["loss"] for row in alone.metrics()]
    for name in mesh_runs.MESHES:
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, err_msg=name)
    assert found["resumed on 1x4x2"] < 1e-4 and found["resumed on 8x1x1"] < 1e-4
