"""Data, fsdp and tensor parallel training on eight simulated devices computes what one device computes."""

import json
import pathlib

import numpy as np
import pytest

from scaling.data.vocabularies import ByteVocabulary
from tests import simulated_devices
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
    printed = simulated_devices.output_of("-m", "tests.scaling.training.mesh_runs", even_store, str(tmp_path))
    found = json.loads(printed.rpartition("RESULT ")[2])
    alone = small_runs.train(pathlib.Path(tmp_path) / "1x1x1", mesh_runs.config(even_store, (1, 1, 1)))[0]
    expected = [row["loss"] for row in alone.metrics()]
    for name in mesh_runs.MESHES:
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, err_msg=name)
    assert found["resumed on 1x4x2"] < 1e-4 and found["resumed on 8x1x1"] < 1e-4
