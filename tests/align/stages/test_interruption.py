"""kill -9 and signals in stages of every kind: at most the work since the last checkpoint is lost, and nothing else changes."""

import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from align.rl.controller_config import ControllerConfig
from align.stages.best_of_n import BestOfNConfig
from align.stages.ppo_config import PpoStageConfig, ValueConfig
from align.stages.preference_config import MovingReference, PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.supervised import SupervisedConfig
from align.training.sample_cache import SampleCache
from align.training.stage_directory import StageDirectory
from scaling.errors import InterruptedRunError
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages
from tests.conftest import PROJECT_ROOT

CHECKPOINT, KILLED = 3, 5


def config(kind: str, laboratory):
    training = small_stages.training(steps=8, checkpoint_every=CHECKPOINT, measure_every=4)
    pairs = small_stages.data(laboratory.pairs)
    if kind == "sft":
        return SupervisedConfig(laboratory.base, small_stages.data(laboratory.dialogues), training)
    if kind == "reward":
        return RewardStageConfig(laboratory.policy, pairs, training)
    if kind == "preference":
        # The reference moves at steps 2, 4, ..., so it is state too.
        moving = MovingReference(every=2, weight=0.5)
        return PreferenceStageConfig(
            laboratory.policy, pairs, training=training, meter=laboratory.meter(), moving_reference=moving
        )
    if kind == "ppo":
        return PpoStageConfig(
            laboratory.policy, pairs, training, laboratory.meter(), gold=laboratory.gold, epochs=2, minibatches=2,
            value=ValueConfig(start="policy"), controller=ControllerConfig("adaptive", target=0.5, horizon=50),
        )  # fmt: skip
    return BestOfNConfig(laboratory.policy, laboratory.meter(samples_per_prompt=8), sizes=(1, 2, 4))


def killed(kind: str, stage, root, tmp_path, step: int) -> None:
    """Runs the stage in a process that dies by SIGKILL at that step."""
    path = tmp_path / "config.pickle"
    path.write_bytes(pickle.dumps(stage))
    result = subprocess.run(
        [sys.executable, "-m", "tests.align.stages.stage_process", kind, path, root, str(step), str(CHECKPOINT)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "reward", "preference", "ppo"])
def test_a_stage_that_was_killed_ends_as_if_it_had_not_been(kind, laboratory, tmp_path):
    """Parameters, optimiser moments, the KL controller and a moving reference agree bit for bit, and so do the measurements."""
    stage = config(kind, laboratory)
    killed(kind, stage, tmp_path / "killed", tmp_path, KILLED)
    resumed, status = small_stages.run(kind, stage, tmp_path / "killed")
    whole, _ = small_stages.run(kind, stage, tmp_path / "whole")
    assert status == "completed" and resumed.path.name == whole.path.name
    assert [attempt.first_step for attempt in resumed.attempts()] == [0, CHECKPOINT]
    for read in (small_stages.final_state, small_stages.final_parameters):
        assert small_stages.largest_difference(read(resumed), read(whole)) == 0
    if kind in ("preference", "ppo"):
        assert resumed.measurements_file.read_text() == whole.measurements_file.read_text()
    if kind == "ppo":
        assert resumed.record()["final_beta"] == whole.record()["final_beta"] != 0.1


@pytest.mark.slow
def test_best_of_n_goes_on_with_the_batch_that_it_was_at(laboratory, tmp_path, monkeypatch):
    """Four batches of samples, killed at the third: two are read, two are drawn, and the curve is the same."""
    stage = config("best_of_n", laboratory)
    killed("best_of_n", stage, tmp_path / "killed", tmp_path, 2)
    drawn = []
    get = SampleCache.get

    def noted(self, number, draw):
        return get(self, number, lambda: drawn.append(number) or draw())

    monkeypatch.setattr(SampleCache, "get", noted)
    resumed, _ = small_stages.run("best_of_n", stage, tmp_path / "killed")
    assert drawn == [2, 3]
    whole, _ = small_stages.run("best_of_n", stage, tmp_path / "whole")
    assert resumed.measurements_file.read_text() == whole.measurements_file.read_text()


@pytest.mark.slow
def test_a_signal_saves_the_state_in_hand(laboratory, tmp_path, monkeypatch):
    """There is no checkpoint near; the step after the signal is not taken, and none is taken twice. Exit code 75 is the error's own."""
    from align.stages.supervised import Supervised

    stage = SupervisedConfig(
        laboratory.base, small_stages.data(laboratory.dialogues, validation_split=""), small_stages.training(steps=6)
    )
    interruption, step = Interruption(), Supervised.step

    def signalled(self, state, number):
        if number == 3:
            interruption.signal_name = "SIGTERM"
        return step(self, state, number)

    from align.stages import running

    monkeypatch.setattr(Supervised, "step", signalled)
    with pytest.raises(InterruptedRunError, match="SIGTERM at step 4 of 6") as raised:
        running.run("sft", stage, tmp_path / "stopped", interruption)
    assert raised.value.exit_code == 75
    monkeypatch.undo()
    resumed, _ = small_stages.run("sft", stage, tmp_path / "stopped")
    whole, _ = small_stages.run("sft", stage, tmp_path / "whole")
    assert resumed.attempts()[1].first_step == 4
    assert [row["step"] for row in resumed.metrics()] == [1, 2, 3, 4, 5, 6]
    for name, value in small_stages.final_state(whole).items():
        np.testing.assert_array_equal(small_stages.final_state(resumed)[name], value, err_msg=name)


@pytest.mark.slow
def test_a_signal_during_compilation_ends_the_process_at_once(laboratory, tmp_path):
    """A compilation of minutes would outlast any notice, and before the first step there is nothing to save."""
    stage = SupervisedConfig(
        laboratory.base, small_stages.data(laboratory.dialogues, validation_split=""), small_stages.training(steps=6)
    )
    path = tmp_path / "config.pickle"
    path.write_bytes(pickle.dumps(stage))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.align.stages.blocked_stage", path, tmp_path / "stages"],
        cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 75 and "stopped on SIGTERM before its first step" in said
    (directory,) = [StageDirectory(found) for found in (tmp_path / "stages").iterdir() if found.is_dir()]
    assert directory.attempts()[0].end["status"] == "interrupted"
