"""Policies trained in several processes: the same policies, and no process stays behind."""

import dataclasses
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import pytest

from align.losses.preference.config import PreferenceConfig
from align.stages import side_by_side
from align.stages.preference_config import PreferenceStageConfig
from align.stages.side_by_side import NamedStage
from align.training.stage_directory import StageDirectory
from scaling.errors import EXIT_INTERRUPTED, DataError
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages
from tests.conftest import PROJECT_ROOT


def preference(laboratory, seed: int, **training) -> PreferenceStageConfig:
    fields = dict(steps=4, measure_every=2) | training
    pairs, seeded = small_stages.data(laboratory.pairs), dataclasses.replace(small_stages.training(**fields), seed=seed)
    return PreferenceStageConfig(laboratory.policy, pairs, PreferenceConfig("ipo"), seeded, laboratory.meter())


def named(*stages: PreferenceStageConfig) -> list[NamedStage]:
    return [NamedStage("preference", stage, f"seed {stage.training.seed}") for stage in stages]


def started(tmp_path, stages: list[NamedStage]) -> subprocess.Popen:
    path = tmp_path / "stages.pickle"
    path.write_bytes(pickle.dumps(stages))
    command = [sys.executable, "-m", "tests.align.stages.side_by_side_process", path, tmp_path / "runs"]
    return subprocess.Popen(command, cwd=PROJECT_ROOT)


def wait_until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def children(parent: int) -> list[int]:
    return [int(pid) for pid in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def directories(root) -> list[StageDirectory]:
    return [StageDirectory(path) for path in sorted(root.iterdir())] if root.exists() else []


@pytest.mark.slow
def test_two_processes_train_the_policies_that_one_would(laboratory, tmp_path):
    stages = named(preference(laboratory, 0), preference(laboratory, 1))
    with Interruption() as interruption:
        statuses = side_by_side.run(stages, str(tmp_path / "two"), 2, interruption)
    assert statuses == {"seed 0": "completed", "seed 1": "completed"}
    assert list(statuses) == [stage.name for stage in stages]
    for stage in stages:
        alone, _ = small_stages.run(stage.kind, stage.config, tmp_path / "one")
        beside = StageDirectory(tmp_path / "two" / alone.path.name)
        parameters = small_stages.final_parameters(alone), small_stages.final_parameters(beside)
        # Thread pools of other sizes add in another order.
        assert small_stages.largest_difference(*parameters) < 1e-5


@pytest.mark.slow
def test_what_a_stage_refuses_is_what_the_study_says(laboratory, tmp_path):
    """The error crosses the process boundary whole, and the stage beside it is not lost."""
    missing = dataclasses.replace(preference(laboratory, 1), data=small_stages.data(str(tmp_path / "nowhere")))
    with Interruption() as interruption, pytest.raises(DataError, match="nowhere"):
        side_by_side.run(named(missing), str(tmp_path / "runs"), 2, interruption)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_when_the_parent_stops_its_workers_save_and_leave(number, laboratory, tmp_path):
    """After SIGTERM it waits for them and exits with 75; after kill -9 they see for themselves that they are alone."""
    endless = named(*(preference(laboratory, seed, steps=100_000, measure_every=0) for seed in (0, 1)))
    process = started(tmp_path, endless)
    root = tmp_path / "runs"
    # A stage that is still compiling has nothing to save, so both are looked for in their curves.
    wait_until(lambda: sum('"loss"' in path.read_text() for path in root.glob("*/attempts/*/metrics.jsonl")) == 2)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(number)
    code = process.wait(timeout=120)
    assert code == (EXIT_INTERRUPTED if number == signal.SIGTERM else -signal.SIGKILL)
    wait_until(lambda: [directory.status() for directory in directories(root)] == ["interrupted"] * 2)
    wait_until(lambda: not any(pathlib.Path(f"/proc/{worker}").exists() for worker in workers))
    for directory in directories(root):
        (attempt,) = directory.attempts()
        assert attempt.end["status"] == "interrupted"
        assert [int(path.name) > 0 for path in (directory.path / "checkpoints").glob("[0-9]*")] == [True]
