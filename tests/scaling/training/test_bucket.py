"""A run whose directory lies in a bucket: trained through the real clients against a stand-in of the store, interrupted and continued."""

import pytest

from scaling import gin_files
from scaling.run_config import RunConfig
from tests import in_bucket
from tests.scaling.training import small_runs

SCRIPT = """
import json, sys
from scaling import gin_files, run_directory, run_stores
from scaling.run_config import RunConfig
from scaling.training import run as runs
from scaling.training.interruption import Interruption
from tests import in_bucket

loaded = gin_files.load(RunConfig, [sys.argv[1]])
(directory,) = run_directory.freeze("gs://laboratory/runs", loaded, run_stores.hashes_of(loaded.config))
assert directory.status() == "new"
with Interruption() as interruption, in_bucket.told_to_stop(runs, 10, interruption):
    runs.train_run(directory, interruption)
assert directory.status() == "interrupted", directory.status()
with Interruption() as interruption:
    assert runs.train_run(directory, interruption) == "completed"
steps = [row["step"] for row in directory.metrics()]
attempts = [attempt.first_step for attempt in directory.attempts()]
print("RESULT " + json.dumps({"record": directory.record(), "steps": steps, "attempts": attempts, "held": directory.is_held()}))
"""


@pytest.mark.slow
def test_a_run_in_a_bucket_is_interrupted_continued_and_recorded(byte_store, tmp_path):
    gin_file = small_runs.write_gin(tmp_path / "run.gin", byte_store, steps=20, checkpoint_steps=5)
    found, puts = in_bucket.result_of(tmp_path, SCRIPT, [str(gin_file)])
    (alone,) = small_runs.train(tmp_path / "disk", gin_files.load(RunConfig, [gin_file]).config)
    assert found["steps"] == list(range(1, 21)) and found["attempts"] == [0, 10] and not found["held"]
    assert found["record"]["losses"] == alone.record()["losses"]
    # Google lets an object be replaced about once a second: the curve is written before each checkpoint, not at each row.
    curves = [count for name, count in puts.items() if name.endswith("metrics.jsonl")]
    assert len(curves) == 2 and max(curves) <= 8, puts
