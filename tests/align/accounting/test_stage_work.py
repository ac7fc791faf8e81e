"""The FLOPs of a record's conventions against XLA's own count of the programs that a stage runs.

By the convention that XLA's count is nearest to (every product, attention over its whole square). XLA also counts what is no product (norms, softmax, the
optimiser), so it may lie up to 12% above at this size, and at most 2% below.
"""

import pytest

from align.models.reward_models import RewardModelsConfig
from align.rl.controller_config import ControllerConfig
from align.stages.ppo import PpoStage
from align.stages.ppo_config import PpoStageConfig, ValueConfig
from align.stages.preference import PreferenceStage
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStage, RewardStageConfig
from align.stages.supervised import Supervised, SupervisedConfig
from scaling.accounting.flops import MFU_CONVENTION
from tests.align.accounting import wide_stages
from tests.align.stages import small_stages

pytestmark = pytest.mark.slow

BELOW, ABOVE = 0.98, 1.12


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    root = tmp_path_factory.mktemp("wide")
    return wide_stages.parent(root), {count: wide_stages.examples(root, count) for count in (1, 2, 4)}, root


def held(field: str, work, xla: float):
    """Compares one field of the record."""
    assert BELOW < xla / work.facts()[field][MFU_CONVENTION] < ABOVE, (
        f"{field}: {xla / work.facts()[field][MFU_CONVENTION]}"
    )


def steps_counted(monkeypatch, make):
    """A stage, its state after a step, what XLA counted in its making and in the step, and the counter."""
    with wide_stages.counted_by_xla(monkeypatch) as count:
        stage = make()
        made = count.taken()
        state = stage.initial_state()
        count.taken()
        state, metrics = stage.step(state, 0)
        return stage, state, made, count.taken(), {name: float(value) for name, value in metrics.items()}


def test_supervised(wide, monkeypatch):
    parent, examples, _ = wide
    config = SupervisedConfig(parent, examples[1], wide_stages.training())
    stage, _, _, xla, _ = steps_counted(monkeypatch, lambda: Supervised(config))
    held("flops", stage.work(1, []), xla)


@pytest.mark.parametrize("ranks", [2, 4])
def test_reward_models(wide, monkeypatch, ranks):
    """The last layer counts at the last tokens alone."""
    parent, examples, _ = wide
    config = RewardStageConfig(parent, examples[ranks], wide_stages.training())
    stage, _, _, xla, _ = steps_counted(monkeypatch, lambda: RewardStage(config))
    held("flops", stage.work(1, []), xla)


def test_a_live_reference_counts_with_the_steps_and_a_cached_one_before_them(wide, monkeypatch):
    parent, examples, root = wide
    live = PreferenceStageConfig(parent, examples[2], training=wide_stages.training(), reference="live")
    stage, _, made, xla, _ = steps_counted(monkeypatch, lambda: PreferenceStage(live))
    held("flops", stage.work(1, []), xla)
    assert made == 0 and stage.work(1, []).facts()["flops_preparation"][MFU_CONVENTION] == 0
    cached = PreferenceStageConfig(
        parent,
        examples[2],
        training=wide_stages.training(),
        reference="cached",
        reference_cache=str(root / "reference"),
    )
    stage, _, made, xla, _ = steps_counted(monkeypatch, lambda: PreferenceStage(cached))
    held("flops", stage.work(1, []), xla)
    held("flops_preparation", stage.work(1, []), made)


def test_ppo(wide, monkeypatch):
    """One epoch of one minibatch, since XLA counts a loop's body once: policy, reference, value network, reward model; samples are apart."""
    parent, examples, root = wide
    reward, _ = small_stages.run(
        "reward", RewardStageConfig(parent, examples[2], wide_stages.training()), root / "runs"
    )
    config = PpoStageConfig(
        parent,
        examples[2],
        wide_stages.training(),
        reward=RewardModelsConfig((str(reward.path),)),
        epochs=1,
        minibatches=1,
        controller=ControllerConfig(),
        value=ValueConfig(start="policy"),
    )
    stage, _, _, xla, metrics = steps_counted(monkeypatch, lambda: PpoStage(config))
    held("flops", stage.work(1, [{"steps": 1, "length": metrics["length"]}]), xla)
    facts = stage.work(1, [{"steps": 1, "length": 10.0}]).facts()
    longer = stage.work(1, [{"steps": 1, "length": 20.0}]).facts()
    assert facts["flops"] == longer["flops"], "updates read whole rows"
    assert facts["flops_generation"][MFU_CONVENTION] < longer["flops_generation"][MFU_CONVENTION]
