"""The gold-reward laboratory: every rung once, and records that say which proxy a policy met."""

import dataclasses

import pytest

from align.data.labels import Labels
from align.gold.token_programs import TokenCount
from align.models.parents import ParentConfig
from align.models.reward_models import RewardModelsConfig
from align.stages import laboratory as stages
from align.stages.best_of_n import BestOfNConfig
from align.stages.collecting import CollectConfig
from align.stages.laboratory import LaboratoryConfig, ProxyLadder
from align.stages.ppo_config import PpoStageConfig, ValueConfig
from align.stages.reward import RewardStageConfig
from align.stages.study_context import Context
from align.stages.supervised import SupervisedConfig
from align.training.stage_directory import StageDirectory
from scaling.errors import ConfigError, DataError
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages

EXACT, NOISY = Labels(), Labels("flip", flip=0.4)


def tiny(base: ParentConfig, laboratory, root) -> LaboratoryConfig:
    own, few = ParentConfig("study"), small_stages.training(steps=2)
    gold = TokenCount(tokens=(int(small_stages.VOCABULARY.encode("z")[0]),))
    meter = laboratory.meter(gold=gold, proxy=RewardModelsConfig(("study",)))
    collecting = laboratory.meter(gold=gold, split="train", num_prompts=32, samples_per_prompt=4)
    pairs = small_stages.data("study")
    return LaboratoryConfig(
        policy=base,
        supervised=SupervisedConfig(
            own, small_stages.data(laboratory.dialogues), small_stages.training(steps=30, learning_rate=1e-2)
        ),
        collect=CollectConfig(own, str(root / "collected"), collecting, validation_prompts=8),
        reward=RewardStageConfig(own, pairs, few),
        ladders=(
            ProxyLadder((base,), (8, 16), (EXACT,)),
            ProxyLadder((base,), (16,), (EXACT, NOISY)),
            ProxyLadder((base,), (16,), (EXACT,), members=(1, 2)),
        ),
        best_of_n=BestOfNConfig(own, meter, sizes=(1, 2)),
        ppo=(PpoStageConfig(own, small_stages.data(laboratory.pairs), few, meter, RewardModelsConfig(("study",)), epochs=1, minibatches=1),),
    )  # fmt: skip


def test_a_proxy_on_several_ladders_is_one_proxy(laboratory, tmp_path):
    config = tiny(laboratory.base, laboratory, tmp_path)
    assert [(proxy.comparisons, proxy.labels, proxy.members) for proxy in config.proxies] == [
        (8, EXACT, 1), (16, EXACT, 1), (16, NOISY, 1), (16, EXACT, 2),
    ]  # fmt: skip
    names = stages.planned(config)
    assert len(names) == len(set(names)) == 1 + 2 + 4 + 4 + 4
    with pytest.raises(ConfigError, match="ProxyLadder.comparisons is empty"):
        ProxyLadder((laboratory.base,), ())


def test_ppo_may_climb_some_proxies_and_the_gold_score_itself(laboratory, tmp_path):
    """Best-of-n against all four, PPO against one of them twice, and twice on the gold reward, measured beside by the ensemble."""
    config = tiny(laboratory.base, laboratory, tmp_path)
    on_gold = dataclasses.replace(
        config.ppo[0], reward=RewardModelsConfig(), gold=config.ppo[0].meter.gold, value=ValueConfig(start="policy")
    )
    some = ProxyLadder((laboratory.base,), (8,), (EXACT,))
    config = dataclasses.replace(config, ppo_ladders=(some,), on_gold=(on_gold,), seeds=(0, 1))
    names = [name for name in stages.planned(config) if "best_of_n" in name or "ppo" in name]
    base = laboratory.base.path.rpartition("/")[2]
    assert names[4:] == [
        f"{base} 8 pairs none ppo beta=0.1 seed=0", "ppo on gold beta=0.1 seed=0",
        f"{base} 8 pairs none ppo beta=0.1 seed=1", "ppo on gold beta=0.1 seed=1",
    ]  # fmt: skip
    policies = stages._policies(config, {proxy: Context(proxy.label, "", (proxy.label,)) for proxy in config.proxies})
    measured = {stage.name: stage.config.meter.proxy.members for stage in policies}
    assert measured["ppo on gold beta=0.1 seed=0"] == (f"{base} 16 pairs none x2",)
    elsewhere = ProxyLadder((laboratory.base,), (32,), (EXACT,))
    with pytest.raises(ConfigError, match="1 proxies that are on none of the ladders: .* 32 pairs none"):
        dataclasses.replace(config, ppo_ladders=(elsewhere,))
    with pytest.raises(ConfigError, match="on_gold has a stage without a gold reward"):
        dataclasses.replace(config, on_gold=config.ppo)


@pytest.mark.slow
def test_records_say_what_each_policy_was_optimised_against(laboratory, tmp_path):
    """The noise that was asked for is the noise that was found, the ensemble has two members, and a second call runs nothing."""
    config, root = dataclasses.replace(tiny(laboratory.base, laboratory, tmp_path), ppo=()), tmp_path / "runs"
    with Interruption() as interruption:
        statuses = stages.run(config, root, interruption)
    planned = [name for name in stages.planned(config) if not name.startswith("collect ")]
    assert list(statuses) == planned and set(statuses.values()) == {"completed"}
    records = [StageDirectory(path).record() for path in root.iterdir()]
    proxies = [record["proxy"] for record in records if record["kind"] == "best_of_n"]
    axes = sorted((proxy["comparisons"], proxy["members"], proxy["label_noise"] > 0.1) for proxy in proxies)
    assert axes == [(8, 1, False), (16, 1, False), (16, 1, True), (16, 2, False)]
    assert all(0 <= proxy["accuracy"] <= 1 and proxy["params"] > 0 for proxy in proxies)
    with Interruption() as interruption:
        assert stages.run(config, root, interruption) == statuses
    assert len(list(root.iterdir())) == len(records)
    more = dataclasses.replace(config, ladders=(ProxyLadder((laboratory.base,), (1000,)),))
    with Interruption() as interruption, pytest.raises(DataError, match="a ladder of proxies asks for 1000"):
        stages.run(more, root, interruption)
