"""Signs of life: believed from elsewhere while fresh, and never from this machine, where the lock tells."""

import json
import socket
import time

import pytest
from etils import epath

from scaling import heartbeat
from scaling.run_directory import BusyError, RunDirectory


@pytest.fixture
def path(tmp_path) -> epath.Path:
    return epath.Path(tmp_path) / "heartbeat.json"


def write(path: epath.Path, host: str, age: float) -> None:
    path.write_text(json.dumps({"host": host, "pid": 1, "time": time.time() - age}))


@pytest.mark.parametrize(
    ("host", "age", "alive"),
    [("elsewhere", 1.0, True), ("elsewhere", 2 * heartbeat.FRESH_SECONDS, False), (socket.gethostname(), 1.0, False)],
)
def test_a_beat_counts_while_fresh_and_from_elsewhere(path, host, age, alive):
    write(path, host, age)
    assert heartbeat.beats_elsewhere(path) is alive


def test_no_beat_and_a_torn_one_are_no_life(path):
    assert not heartbeat.beats_elsewhere(path)
    path.write_text('{"host": "else')
    assert not heartbeat.beats_elsewhere(path)


def test_it_beats_on_and_leaves_nothing_behind(path):
    times = set()
    with heartbeat.beating(path, every_seconds=0.01):
        deadline = time.monotonic() + 5
        while len(times) < 3 and time.monotonic() < deadline:
            times.add(json.loads(path.read_text())["time"])
    assert len(times) == 3 and list(path.parent.iterdir()) == []


def test_a_run_that_beats_elsewhere_is_running_and_refused_here(tmp_path):
    directory = RunDirectory(tmp_path)
    write(epath.Path(tmp_path) / "heartbeat.json", "elsewhere", 1.0)
    assert directory.status() == "running"
    with pytest.raises(BusyError), directory.lock():
        pass
    write(epath.Path(tmp_path) / "heartbeat.json", "elsewhere", 1e4)
    with directory.lock():
        assert json.loads((tmp_path / "heartbeat.json").read_text())["host"] == socket.gethostname()
    assert not (tmp_path / "heartbeat.json").exists() and directory.status() == "new"
