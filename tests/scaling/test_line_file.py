"""Lines are there at once on a disk, and seldom but surely in a bucket."""

import os
import pathlib

from etils import epath

from scaling.line_file import LineFile
from scaling.run_config import CheckpointConfig
from scaling.run_directory import RunDirectory
from scaling.training import attempt_log
from scaling.training.checkpoints import Checkpoints
from tests.scaling.kept_lines import KeptLines
from tests.scaling.training import small_runs


class Bucket(os.PathLike):
    """An object in a bucket: it can be read and replaced, and nothing else."""

    def __init__(self):
        self.versions: list[str] = []

    def __fspath__(self) -> str:
        return "gs://laboratory/metrics.jsonl"

    def exists(self) -> bool:
        return bool(self.versions)

    def read_text(self) -> str:
        return self.versions[-1]

    def write_text(self, text: str) -> None:
        self.versions.append(text)


def test_a_line_on_a_disk_is_there_at_once(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    lines = LineFile(path)
    assert path.read_text() == ""
    lines.append("one")
    assert path.read_text() == "one\n"
    LineFile(path).append("two")
    assert path.read_text() == "one\ntwo\n"


def test_an_object_is_replaced_when_asked_and_not_for_every_line():
    """Google allows one replacement a second, and each costs the loop a round trip."""
    bucket = Bucket()
    lines = LineFile(bucket, every_seconds=1e9)
    for number in range(100):
        lines.append(str(number))
    assert bucket.versions == []
    lines.flush()
    lines.flush()
    assert bucket.versions == ["".join(f"{number}\n" for number in range(100))]


def test_an_object_is_replaced_now_and_then_and_keeps_what_it_had():
    bucket = Bucket()
    bucket.write_text("earlier\n")
    LineFile(bucket, every_seconds=0.0).append("later")
    assert bucket.versions[-1] == "earlier\nlater\n"


def test_a_checkpoint_never_stands_on_rows_that_are_not_written(byte_store, tmp_path, monkeypatch):
    """Where rows are kept, as in a bucket, all that lead to a checkpoint are written before it is begun."""
    written: list[tuple[int, int]] = []

    monkeypatch.setattr(attempt_log, "LineFile", KeptLines)
    save = Checkpoints.save

    def noted(self, step, state):
        run = RunDirectory(pathlib.Path(self._directory).parent)
        written.append((step, max(row["step"] for row in run.metrics())))
        save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", noted)
    run = small_runs.config(byte_store, tokens=10 * 512, checkpoint=CheckpointConfig(every_tokens=5 * 512))
    (directory,) = small_runs.train(tmp_path, run)
    assert written == [(5, 5), (10, 10)]
    assert [row["step"] for row in directory.metrics()] == list(range(1, 11))
    assert directory.record()["train_loss"] is not None
