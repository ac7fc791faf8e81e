"""Two processes train one run and one of them is told to leave: both save the same step and go, and the run ends as if nothing had been."""

import re
import sys

import numpy as np
import pytest

from scaling.run_config import CheckpointConfig, EvaluationConfig, EvaluationDomain
from scaling.run_directory import RunDirectory
from tests import process_groups
from tests.scaling.byte_stores import write_byte_store
from tests.scaling.training import small_runs

STEPS = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = write_byte_store(tmp_path_factory.mktemp("processes") / "store", 30_000)
    evaluation = EvaluationConfig(domains=(EvaluationDomain("speeches", store, max_tokens=20 * 512),), batch_size=8)
    return small_runs.config(
        store, tokens=STEPS * 512, evaluation=evaluation, checkpoint=CheckpointConfig(every_tokens=0)
    )


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory) -> dict:
    """The record of the run, trained by one process."""
    (directory,) = small_runs.train(tmp_path_factory.mktemp("undisturbed"), run)
    return directory.record()


def train_together(directory: RunDirectory, folder, notices: list[str]) -> list[process_groups.Ended]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.scaling.training.notified_process", str(directory.path)]
    variables = process_groups.explicit_variables(2)
    told = [own | {"NOTICE": notice} for own, notice in zip(variables, notices, strict=True)]
    return process_groups.run_together(command, told, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("notices", "earliest", "latest"),
    [
        (["SIGUSR1 step 5", ""], 6, STEPS - 1),
        (["", "SIGTERM batch 2"], STEPS, STEPS),
    ],
    ids=["user_signal", "in_evaluation"],
)
def test_both_save_the_same_step_and_the_run_continues_there(run, undisturbed, tmp_path, notices, earliest, latest):
    """There is no periodic checkpoint: what is continued is what was agreed upon."""
    (directory,) = small_runs.freeze(tmp_path / "runs", run)
    both = train_together(directory, tmp_path / "first", notices)
    assert [ended.code for ended in both] == [75, 75], both[0].output + both[1].output
    saved = {int(re.search(r"with step (\d+) of 40 saved", ended.output).group(1)) for ended in both}
    (step,) = saved
    assert earliest <= step <= latest
    assert [path.name for path in directory.checkpoints.iterdir()] == [str(step)]
    assert directory.status() == "interrupted"
    again = train_together(directory, tmp_path / "second", ["", ""])
    assert [ended.code for ended in again] == [0, 0], again[0].output + again[1].output
    assert [attempt.first_step for attempt in directory.attempts()] == [0, step]
    np.testing.assert_allclose(directory.record()["train_loss"], undisturbed["train_loss"], rtol=1e-5)
    for name, loss in undisturbed["losses"].items():
        np.testing.assert_allclose(
            directory.record()["losses"][name]["nats_per_token"], loss["nats_per_token"], rtol=1e-5
        )
