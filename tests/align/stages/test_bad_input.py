"""What does not fit is refused in one line that names the file, the field and the remedy, and the verbs exit with 2."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from align.data import store_writer
from align.data.examples import TokenExample
from align.models.parents import ParentConfig
from align.models.reward_models import RewardModelsConfig
from align.stage_config import ExamplesConfig
from align.stages import ppo, preference, reward, supervised
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.supervised import SupervisedConfig
from scaling.data.vocabularies import SymbolVocabulary
from scaling.errors import CheckpointError, ConfigError, DataError
from tests.align.stages import small_stages
from tests.conftest import PROJECT_ROOT

GIN = """
from __gin__ import dynamic_registration
from align import stage_config
from align.losses.preference import config as preference_config
from align.models import parents
from align.stages import preference_config as stage

parents.ParentConfig.path = {parent!r}
stage_config.ExamplesConfig.store = {store!r}
stage_config.ExamplesConfig.prompt_length = 8
stage_config.ExamplesConfig.completion_length = 8
preference_config.PreferenceConfig.loss = {loss!r}
stage.PreferenceStageConfig.parent = @parents.ParentConfig()
stage.PreferenceStageConfig.data = @stage_config.ExamplesConfig()
stage.PreferenceStageConfig.loss = @preference_config.PreferenceConfig()
"""


@pytest.fixture(scope="module")
def foreign_pairs(tmp_path_factory) -> str:
    """Pairs that were tokenised for another model."""
    path, vocabulary = tmp_path_factory.mktemp("foreign") / "pairs", SymbolVocabulary(16)
    example = TokenExample("one", np.array([5, 6]), (np.array([7, vocabulary.eos_id]), np.array([vocabulary.eos_id])))
    with store_writer.writing(path, vocabulary, 2) as writer:
        for split in ("train", "validation"):
            writer.write_split(split, [example])
        writer.finish({})
    return str(path)


def dpo(folder: pathlib.Path, **values) -> subprocess.CompletedProcess:
    """`python -m align.dpo` on a Gin file."""
    (folder / "dpo.gin").write_text(GIN.format(**values))
    return subprocess.run(
        [sys.executable, "-m", "align.dpo", f"--gin_file={folder / 'dpo.gin'}", f"--root={folder / 'runs'}"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"parent": "runs/nowhere"}, ["the parent 'runs/nowhere' does not exist", "correct ParentConfig.path"]),
        ({"loss": "sigmoids"}, ["PreferenceConfig.loss is 'sigmoids'", "choose one of", "sigmoid_norm"]),
    ],
)
def test_the_verb_says_it_in_one_line_and_exits_with_2(fault, words, laboratory, tmp_path):
    fine = {"parent": laboratory.policy.path, "store": laboratory.pairs, "loss": "sigmoid"}
    result = dpo(tmp_path, **(fine | fault))
    assert result.returncode == 2, result.stderr
    assert all(word in result.stderr for word in words) and "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) <= 1
    assert not (tmp_path / "runs").exists()


def pairs_config(laboratory, **fields) -> PreferenceStageConfig:
    parent = fields.pop("parent", laboratory.policy)
    return PreferenceStageConfig(parent, small_stages.data(fields.pop("store", laboratory.pairs), **fields))


def test_an_unfinished_parent(laboratory, tmp_path):
    """A stage without its record, or that diverged, starts nothing."""
    copy = tmp_path / "unfinished"
    shutil.copytree(laboratory.policy.path, copy)
    record = json.loads((copy / "record.json").read_text())
    (copy / "record.json").write_text(json.dumps(record | {"status": "diverged"}))
    with pytest.raises(CheckpointError, match="unfinished is diverged, not completed.*choose another parent"):
        preference.spec(pairs_config(laboratory, parent=ParentConfig(str(copy))))
    (copy / "record.json").unlink()
    with pytest.raises(CheckpointError, match="unfinished is not completed.*the command that began it continues it"):
        preference.spec(pairs_config(laboratory, parent=ParentConfig(str(copy))))


def test_examples_tokenised_for_another_model(laboratory, foreign_pairs):
    with pytest.raises(DataError, match=f"(?s){foreign_pairs}.*vocabulary"):
        preference.spec(pairs_config(laboratory, store=foreign_pairs))


def test_examples_that_were_altered(laboratory, tmp_path):
    """One token of one completion, in a file of the right size."""
    store = tmp_path / "pairs"
    shutil.copytree(laboratory.pairs, store)
    file = store / "train.completions.tokens"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    data = small_stages.data(str(store))
    with pytest.raises(DataError, match=r"train\.completions\.tokens is altered"):
        preference.spec(PreferenceStageConfig(laboratory.policy, data))


def test_a_store_of_the_wrong_kind(laboratory):
    dialogues, pairs = small_stages.data(laboratory.dialogues), small_stages.data(laboratory.pairs)
    with pytest.raises(DataError, match=f"{laboratory.dialogues}.*dialogue"):
        preference.spec(PreferenceStageConfig(laboratory.policy, dialogues))
    with pytest.raises(DataError, match=f"{laboratory.pairs}.*pairs"):
        supervised.spec(SupervisedConfig(laboratory.policy, pairs))
    with pytest.raises(DataError, match=f"{laboratory.dialogues}.*dialogue"):
        reward.spec(RewardStageConfig(laboratory.policy, dialogues))


def test_a_policy_in_place_of_a_reward_model(laboratory, tmp_path):
    config = PpoStageConfig(
        laboratory.policy, small_stages.data(laboratory.pairs), reward=RewardModelsConfig((laboratory.policy.path,))
    )
    with pytest.raises(CheckpointError, match="is no reward model.*name a run of align.reward"):
        ppo.PpoStage(config)


def test_a_reward_model_of_another_vocabulary(laboratory, foreign_pairs, tmp_path):
    """The copy of the reward model says that it reads the foreign store's vocabulary."""
    copy = tmp_path / "reward"
    shutil.copytree(laboratory.reward, copy)
    stage = json.loads((copy / "stage.json").read_text())
    (copy / "stage.json").write_text(json.dumps(stage | {"vocabulary_store": foreign_pairs}))
    config = PpoStageConfig(
        laboratory.policy, small_stages.data(laboratory.pairs), reward=RewardModelsConfig((str(copy),))
    )
    with pytest.raises(DataError, match=f"the reward model {copy} reads another vocabulary"):
        ppo.PpoStage(config)


def test_rows_that_are_shorter_than_the_examples(laboratory, tmp_path):
    config = PreferenceStageConfig(
        laboratory.policy, ExamplesConfig(laboratory.pairs, prompt_length=4, completion_length=3)
    )
    with pytest.raises((DataError, ConfigError), match="prompt_length|completion_length|tokens"):
        small_stages.run("preference", config, tmp_path)
