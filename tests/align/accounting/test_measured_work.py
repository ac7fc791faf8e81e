"""The FLOPs of samples and of measurements, counted by hand in records, against XLA's own count of the programs that draw and score.

The bounds are those of `test_stage_work`, which says what XLA counts beside products.
"""

import dataclasses

import jax
import numpy as np
import pytest

from align.accounting.passes import sampled, total
from align.generation.sampler import generator, row_keys
from align.generation.sampling_config import SamplingConfig
from align.gold.token_programs import TokenCount
from align.models.parents import find
from align.models.policy import Policy
from align.models.reward_models import RewardModelsConfig
from align.stages.preference import PreferenceStage
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStage, RewardStageConfig
from align.stages.supervised import Supervised, SupervisedConfig
from align.training import policy_meter
from align.training.policy_meter import MeterConfig, PolicyMeter
from scaling.accounting.flops import MFU_CONVENTION
from scaling.models.transformer import Transformer, init_parameters
from tests.align.accounting import wide_stages
from tests.align.accounting.test_stage_work import ABOVE, BELOW
from tests.align.stages import small_stages
from tests.scaling.models.small_models import QUICK_COMPILE

ROWS = 8


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    root = tmp_path_factory.mktemp("wide_measured")
    return wide_stages.parent(root), {count: wide_stages.examples(root, count) for count in (1, 2)}, root


def held(counted: float, xla: float):
    assert BELOW < xla / counted < ABOVE, xla / counted


def drawn_by_xla(tokens: int) -> float:
    """XLA's count of the program that draws so many tokens a row; the body of its loop, a token, once and behind a full cache."""
    model = Transformer(wide_stages.CONFIG)
    parameters = jax.eval_shape(lambda: init_parameters(model, jax.random.key(0)))
    draw = generator(model, SamplingConfig(max_new_tokens=tokens), eos_id=1)
    prepared = jax.eval_shape(lambda tree: draw.prepare(tree, ROWS), parameters)
    prompts, lengths = np.ones((ROWS, wide_stages.PROMPT), np.int32), np.full(ROWS, wide_stages.PROMPT, np.int32)
    keys = row_keys(0, np.arange(ROWS), np.zeros(ROWS, np.int32))
    program = draw.run.lower(prepared, prompts, lengths, keys).compile(QUICK_COMPILE)
    return program.cost_analysis()["flops"]


def test_samples_of_two_tokens(wide):
    """The prompt, and one token behind it: the loop's body is taken once, and XLA counts it once."""
    del wide
    held(total(sampled(wide_stages.CONFIG, ROWS, wide_stages.PROMPT, 2.0))[MFU_CONVENTION], drawn_by_xla(2))


def test_a_token_far_behind_the_prompt(wide):
    """What a program of 41 tokens has beyond one of 2 is a cache that is longer by 39, which its one counted step attends to."""
    del wide
    one, other = (sampled(wide_stages.CONFIG, ROWS, wide_stages.PROMPT, tokens)[1] for tokens in (2.0, 41.0))
    # The mean of 40 steps sees 19.5 more columns than the first.
    per_column = (total([other.times(1 / 40)])[MFU_CONVENTION] - total([one])[MFU_CONVENTION]) / 19.5
    held(39 * per_column, drawn_by_xla(41) - drawn_by_xla(2))


@pytest.mark.slow
def test_policy_reference_and_proxies_on_samples(wide, monkeypatch):
    parent, examples, root = wide
    reward, _ = small_stages.run(
        "reward", RewardStageConfig(parent, examples[2], wide_stages.training()), root / "runs"
    )
    proxy = RewardModelsConfig((str(reward.path),))
    config = MeterConfig(
        examples[2].store, num_prompts=4, prompt_length=wide_stages.PROMPT, samples_per_prompt=2, max_new_tokens=wide_stages.COMPLETION,
        batch_size=ROWS, gold=TokenCount(tokens=(5,)), proxy=proxy,
    )  # fmt: skip
    found = find(parent)
    with wide_stages.counted_by_xla(monkeypatch) as count:
        policy = Policy.of(found, wide_stages.training(), ROWS)
        meter = PolicyMeter(config, found, policy, wide_stages.training())
        parameters = policy.place(found.parameters())
        row = meter.row(meter.sample(parameters, parameters, lambda: None))
        xla = count.taken()
    _, scoring = policy_meter.work(config, found.config, [row])
    held(total(scoring)[MFU_CONVENTION], xla)
    without = dataclasses.replace(config, proxy=RewardModelsConfig())
    _, less = policy_meter.work(without, found.config, [row])
    assert total(less)[MFU_CONVENTION] < BELOW / ABOVE * total(scoring)[MFU_CONVENTION], (
        "a proxy that is not counted would show"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "reward", "preference"])
def test_held_out_rows(wide, monkeypatch, kind):
    parent, examples, _ = wide
    training = wide_stages.training()
    with wide_stages.counted_by_xla(monkeypatch) as count:
        if kind == "sft":
            stage = Supervised(SupervisedConfig(parent, examples[1], training))
        elif kind == "reward":
            stage = RewardStage(RewardStageConfig(parent, examples[2], training))
        else:
            stage = PreferenceStage(PreferenceStageConfig(parent, examples[2], training=training, reference="live"))
        state = stage.initial_state()
        count.taken()
        row = stage.measure(state, 0, lambda: None)
        xla = count.taken()
    # No step is counted: a reward model's last one also fixes its normalisation.
    held(stage.work(0, [row]).facts()["flops_measuring"][MFU_CONVENTION], xla)
