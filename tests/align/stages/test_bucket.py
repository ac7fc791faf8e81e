"""The rows of a stage that lies in a bucket, where an object can be replaced and not appended to."""

import pathlib

from align.stages.supervised import SupervisedConfig
from scaling.run_directory import RunDirectory
from scaling.training import attempt_log
from scaling.training.checkpoints import Checkpoints
from tests.align.stages import small_stages
from tests.scaling.kept_lines import KeptLines


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
