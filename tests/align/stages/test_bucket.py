"""A stage that lies in a bucket, where an object can be replaced and not appended to."""

import pathlib
import pickle

import pytest

from align.stages.best_of_n import BestOfNConfig
from align.stages.supervised import SupervisedConfig
from scaling.run_directory import RunDirectory
from scaling.training import attempt_log
from scaling.training.checkpoints import Checkpoints
from tests import in_bucket
from tests.align.stages import small_stages
from tests.scaling.kept_lines import KeptLines

SCRIPT = """
import json, pathlib, pickle, sys
from align.models.parents import ParentConfig
from align.stages import running
from align.training import loop
from scaling.training.interruption import Interruption
from tests import in_bucket
from tests.align.stages import small_stages

config, sampling = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
with Interruption() as interruption, in_bucket.told_to_stop(loop, 4, interruption):
    running.run("sft", config, "gs://laboratory/align", interruption)
directory, status = small_stages.run("sft", config, "gs://laboratory/align")
best, _ = small_stages.run("best_of_n", sampling, "gs://laboratory/align")
rows = directory.metrics()
parameters = small_stages.parameters_of(ParentConfig(str(directory.path)))
print("RESULT " + json.dumps({
    "status": status, "final": directory.record()["final"], "attempts": [attempt.first_step for attempt in directory.attempts()],
    "steps": [row["step"] for row in rows], "measured": [row["step"] for row in rows if "held_out" in row],
    "curve": best.measurements_file.read_text(), "best": best.record()["status"],
    "sums": {name: float(abs(value).sum()) for name, value in parameters.items()},
}))
"""


@pytest.mark.slow
def test_stages_in_a_bucket_are_interrupted_continued_recorded_and_found_as_a_parent(laboratory, tmp_path):
    training = small_stages.training(steps=6, measure_every=2, checkpoint_every=2)
    config = SupervisedConfig(laboratory.base, small_stages.data(laboratory.dialogues), training)
    sampling = BestOfNConfig(laboratory.policy, laboratory.meter(), sizes=(1, 2), training=training)
    (tmp_path / "config.pickle").write_bytes(pickle.dumps((config, sampling)))
    found, puts = in_bucket.result_of(tmp_path, SCRIPT, [str(tmp_path / "config.pickle")])
    alone, _ = small_stages.run("sft", config, tmp_path / "disk")
    assert found["status"] == "completed" and found["attempts"] == [0, 4]
    assert found["steps"] == [0, 1, 2, 3, 4, 5, 6] and found["measured"] == [0, 2, 4, 6]
    assert found["final"] == alone.record()["final"]
    weights = small_stages.final_parameters(alone)
    assert found["sums"] == {name: float(abs(value).sum()) for name, value in weights.items()}
    best, _ = small_stages.run("best_of_n", sampling, tmp_path / "disk")
    assert found["best"] == "completed" and found["curve"] == best.measurements_file.read_text()
    # Rows are written before each checkpoint and after each measurement, and not one by one.
    assert sorted(count for name, count in puts.items() if name.endswith("metrics.jsonl")) == [3, 4], puts


def test_neither_a_checkpoint_nor_a_measurement_is_ahead_of_the_rows_that_lead_to_it(laboratory, tmp_path, monkeypatch):
    """Rows are kept and written in good time: those that lead to a checkpoint before it is begun, a measurement as soon as it is made."""
    seen = {"saved": [], "measured": []}

    def rows_of(path: pathlib.Path) -> list[int]:
        return [row["step"] for row in RunDirectory(path).metrics()]

    save, flush = Checkpoints.save, attempt_log.AttemptLog.flush

    def saving(self, step, state):
        stage = pathlib.Path(self._directory).parent
        if stage.parent == tmp_path:  # And not the model that it leaves.
            seen["saved"].append((step, rows_of(stage)[-1]))
        save(self, step, state)

    def flushing(self):
        flush(self)
        seen["measured"].append([row["step"] for row in self._attempt.metrics() if "held_out" in row])

    monkeypatch.setattr(attempt_log, "LineFile", KeptLines)
    monkeypatch.setattr(Checkpoints, "save", saving)
    monkeypatch.setattr(attempt_log.AttemptLog, "flush", flushing)
    training = small_stages.training(steps=4, measure_every=2, checkpoint_every=2)
    directory, _ = small_stages.run(
        "sft", SupervisedConfig(laboratory.base, small_stages.data(laboratory.dialogues), training), tmp_path
    )
    assert seen["saved"] == [(2, 2), (4, 4)]
    # After the first measurement, at each boundary before and after measuring, and at the end.
    assert seen["measured"] == [[0], [0], [0, 2], [0, 2], [0, 2, 4], [0, 2, 4]]
    assert rows_of(directory.path) == [0, 1, 2, 3, 4]
