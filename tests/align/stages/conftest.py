"""What the tests of stages share: a stage-one run, examples, a fine-tune and a reward model, each made once."""

import dataclasses
import pathlib

import pytest

from align.gold.token_programs import TokenCount
from align.models.parents import ParentConfig
from align.stages.reward import RewardStageConfig
from align.stages.supervised import SupervisedConfig
from align.training.policy_meter import MeterConfig
from tests.align.stages import small_stages


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """Models and stores.

    Attributes:
      root: of the runs of stage two.
      base: the stage-one run.
      policy: its fine-tune, which is what the other stages start from.
      reward: path of a reward model.
      dialogues, pairs, ranked: stores with 1, 2 and 4 completions a prompt.
    """

    root: pathlib.Path
    base: ParentConfig
    policy: ParentConfig
    reward: str
    dialogues: str
    pairs: str
    ranked: str

    @property
    def gold(self) -> TokenCount:
        """How many letters "a" a completion has."""
        return TokenCount(tokens=(int(small_stages.VOCABULARY.encode("a")[0]),))

    def meter(self, **fields) -> MeterConfig:
        """Eight prompts, two samples of each."""
        defaults = dict(
            prompts=self.pairs,
            num_prompts=8,
            prompt_length=small_stages.PROMPT,
            samples_per_prompt=2,
            max_new_tokens=small_stages.COMPLETION,
            batch_size=16,
            gold=self.gold,
        )
        return MeterConfig(**(defaults | fields))


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory) -> Laboratory:
    root = tmp_path_factory.mktemp("laboratory")
    base = small_stages.parent(root)
    dialogues, pairs, ranked = (
        small_stages.examples(root / name, count) for name, count in (("dialogues", 1), ("pairs", 2), ("ranked", 4))
    )
    training = small_stages.training(steps=60, learning_rate=1e-2)
    tuned, _ = small_stages.run("sft", SupervisedConfig(base, small_stages.data(dialogues), training), root / "align")
    policy = ParentConfig(str(tuned.path))
    reward, _ = small_stages.run(
        "reward", RewardStageConfig(policy, small_stages.data(pairs), small_stages.training()), root / "align"
    )
    return Laboratory(root / "align", base, policy, str(reward.path), dialogues, pairs, ranked)
