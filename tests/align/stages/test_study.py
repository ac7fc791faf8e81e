"""A study: its stages by name, once each, in an order in which every parent is there when it is needed."""

import pytest

from align.gold.token_programs import TokenCount
from align.losses.preference.config import PreferenceConfig
from align.models.parents import ParentConfig
from align.models.reward_models import RewardModelsConfig
from align.stages import study
from align.stages.best_of_n import BestOfNConfig
from align.stages.collecting import CollectConfig
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStageConfig
from align.stages.study import StudyConfig
from align.stages.supervised import SupervisedConfig
from scaling.errors import ConfigError
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages


def tiny(laboratory, root) -> StudyConfig:
    tuned, few = ParentConfig("study"), small_stages.training(steps=2)
    pairs = small_stages.data(laboratory.pairs)
    gold = TokenCount(tokens=(int(small_stages.VOCABULARY.encode("z")[0]),))
    proxy = RewardModelsConfig(("study",))
    meter = laboratory.meter(gold=gold, proxy=proxy)
    collecting = laboratory.meter(gold=gold, split="train", num_prompts=16, samples_per_prompt=4)
    return StudyConfig(
        parents=(laboratory.base,),
        supervised=SupervisedConfig(
            tuned, small_stages.data(laboratory.dialogues), small_stages.training(steps=30, learning_rate=1e-2)
        ),
        reward=RewardStageConfig(tuned, pairs, few),
        reward_seeds=(0, 1),
        collect=CollectConfig(tuned, str(root / "collected"), collecting, validation_prompts=8),
        preference=(
            PreferenceStageConfig(tuned, small_stages.data("study"), PreferenceConfig("ipo", beta=0.5), few, meter),
        ),
        ppo=(PpoStageConfig(tuned, pairs, few, meter, proxy, epochs=1, minibatches=1),),
        best_of_n=(BestOfNConfig(tuned, meter, sizes=(1, 2)),),
        seeds=(0, 1),
    )


@pytest.mark.slow
def test_a_study_runs_what_it_planned_and_a_second_call_runs_nothing(laboratory, tmp_path):
    config = tiny(laboratory, tmp_path)
    names = study.planned(config)
    base = laboratory.base.path.rpartition("/")[2]
    assert names == [
        f"{base} {stage}"
        for stage in (
            "sft", "reward seed=0", "reward seed=1", "collect", "best_of_n",
            "ipo beta=0.5 seed=0", "ppo beta=0.1 seed=0", "ipo beta=0.5 seed=1", "ppo beta=0.1 seed=1",
        )
    ]  # fmt: skip
    with Interruption() as interruption:
        statuses = study.run(config, tmp_path / "runs", interruption)
    assert list(statuses) == [name for name in names if not name.endswith("collect")]
    assert set(statuses.values()) == {"completed"}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with Interruption() as interruption:
        assert study.run(config, tmp_path / "runs", interruption) == statuses
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != written.get(path)} <= {"lock"}


def test_a_study_without_parents_is_refused(laboratory, tmp_path):
    config = tiny(laboratory, tmp_path)
    with pytest.raises(ConfigError, match="StudyConfig.parents is empty"):
        StudyConfig((), config.supervised, config.reward)
