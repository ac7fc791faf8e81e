"""A population spread over eight simulated devices computes what each of its runs computes alone on one."""

import json

import numpy as np
import pytest

from scaling.run_directory import RunDirectory
from scaling.training.family import train_directories
from tests import simulated_devices
from tests.scaling.training import population_runs, small_runs


@pytest.mark.slow
def test_members_lie_on_devices_of_their_own(byte_store, tmp_path):
    together = tmp_path / "together"
    printed = simulated_devices.output_of(
        "-m", "tests.scaling.training.population_runs", byte_store, str(together), "map"
    )
    found = json.loads(printed.rpartition("RESULT ")[2])
    members = population_runs.MEMBERS
    assert found == {"statuses": ["completed"] * members, "devices": 6, "slots": 12, "collectives": []}
    for run in population_runs.configs(byte_store):
        (expected,) = small_runs.freeze(tmp_path / "alone", run)
        train_directories([expected.path])
        actual = RunDirectory(together / expected.path.name)
        values = small_runs.final_parameters(expected)
        for name, value in small_runs.final_parameters(actual).items():
            np.testing.assert_allclose(value, values[name], atol=1e-5, err_msg=name)
        losses = [directory.record()["losses"]["speeches"]["nats_per_token"] for directory in (actual, expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
