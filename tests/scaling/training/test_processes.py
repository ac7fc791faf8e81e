"""Two processes train one run: what they compute is what one computes, and one of them writes."""

import sys

import numpy as np
import pytest

from scaling import mesh as meshes
from scaling.data.config import DataConfig
from scaling.errors import ConfigError
from scaling.run_config import CheckpointConfig
from tests import process_groups
from tests.scaling.byte_stores import write_byte_store
from tests.scaling.training import small_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return write_byte_store(tmp_path_factory.mktemp("processes") / "store", 30_000)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(store, tmp_path):
    """A trunk with a branch, batches read from disk, a checkpoint on the way."""
    run = small_runs.config(
        store,
        data=DataConfig(store=store, sequence_length=64, placement="host"),
        tokens=20 * 512,
        branches=(20 * 512,),
        checkpoint=CheckpointConfig(every_tokens=5 * 512),
    )
    alone = small_runs.train(tmp_path / "one", run)
    together = small_runs.freeze(tmp_path / "two", run)
    command = [sys.executable, "-m", "scaling.train", f"--run_dir={together[0].path}"]
    both = process_groups.run_together(command, process_groups.explicit_variables(2), tmp_path)
    assert [ended.code for ended in both] == [0, 0], both[0].output + both[1].output
    for expected, found in zip(alone, together, strict=True):
        record, reference = found.record(), expected.record()
        assert record["device"]["processes"] == 2 and record["device"]["count"] == 2
        assert len(found.attempts()) == 1
        assert [row["step"] for row in found.metrics()] == [row["step"] for row in expected.metrics()]
        for key in ("status", "kind", "steps", "tokens", "flops", "own_flops", "store_hash", "parameters"):
            assert record[key] == reference[key], key
        np.testing.assert_allclose(record["train_loss"], reference["train_loss"], rtol=1e-5)
        for name, loss in reference["losses"].items():
            np.testing.assert_allclose(record["losses"][name]["nats_per_token"], loss["nats_per_token"], rtol=1e-5)
            assert record["losses"][name]["tokens"] == loss["tokens"]
        trained, reference_parameters = small_runs.final_parameters(found), small_runs.final_parameters(expected)
        for name, value in reference_parameters.items():
            np.testing.assert_allclose(trained[name], value, atol=2e-5, err_msg=name)
    # The second process speaks of nothing: no line of progress, no outcome.
    assert "completed" in both[0].output and "completed" not in both[1].output


@pytest.mark.slow
def test_what_one_host_lacks_ends_both(store, tmp_path):
    """A store that one host does not have would leave the other waiting in a collective."""
    variables = process_groups.explicit_variables(2)
    variables[1]["FAIL_ON_OPENING"] = "1"
    script = (
        "import os, sys\n"
        "from scaling.training import run\n"
        "from scaling.errors import DataError\n"
        "def missing(spec): raise DataError('the store is missing', 'copy it')\n"
        "if 'FAIL_ON_OPENING' in os.environ: run._open_texts = missing\n"
        "from scaling import train, verbs\n"
        "verbs.run(train.main)\n"
    )
    gin_file = small_runs.write_gin(tmp_path / "run.gin", store)
    command = [sys.executable, "-c", script, f"--gin_file={gin_file}", f"--root={tmp_path / 'runs'}"]
    both = process_groups.run_together(command, variables, tmp_path)
    assert [ended.code for ended in both] == [2, 2], both[0].output + both[1].output
    assert "process 1 of 2 refused the run" in both[0].output and "the store is missing" in both[1].output


class FakeSharding:
    """Two hosts of two devices each, and the rows that each device holds."""

    def __init__(self, rows):
        self._rows = rows

    def devices_indices_map(self, shape):
        devices = [type("Device", (), {"process_index": number // 2})() for number in range(4)]
        return dict(zip(devices, [(slice(*rows),) for rows in self._rows], strict=True))


def test_hosts_read_their_own_rows_once():
    assert meshes.rows_of_process(FakeSharding([(0, 2), (2, 4), (4, 6), (6, 8)]), 8) == (0, 2)
    # A tensor axis over both hosts: each needs every row.
    assert meshes.rows_of_process(FakeSharding([(0, 4), (4, 8), (0, 4), (4, 8)]), 8) == (0, 1)
    # Devices in another order than hosts: rows 0-1 and 4-5 belong to this one, and are its half of the batch.
    assert meshes.rows_of_process(FakeSharding([(0, 2), (4, 6), (2, 4), (6, 8)]), 8) == (0, 2)


def test_rows_that_hosts_share_in_part_are_refused():
    with pytest.raises(ConfigError, match="unevenly"):
        meshes.rows_of_process(FakeSharding([(0, 4), (2, 6), (4, 8), (6, 8)]), 8)
