"""What steps of PPO, RLOO and GRPO compute (no JAX here)."""

from collections.abc import Sequence

from align.accounting.passes import sampled, whole_rows
from align.accounting.work import Work, scored
from align.stages.ppo_config import PpoStageConfig
from scaling.models.config import TransformerConfig


def reinforced(
    config: PpoStageConfig,
    policy: TransformerConfig,
    value: TransformerConfig | None,
    rewards: Sequence[TransformerConfig],
    first_column: int,
    lengths: Sequence[float],
) -> Work:
    """Steps of a stage, nothing measured.

    Args:
      config: of the stage.
      policy: of policy and reference.
      value: of a separate value network, or None.
      rewards: the reward models.
      first_column: no completion begins before it.
      lengths: mean tokens of a completion, one number a step.
    """
    episodes, length, steps = config.training.batch_size, config.data.length, len(lengths)
    read = whole_rows(policy, episodes, length, head_columns=length - first_column)
    experience = [read, read, *scored(rewards, episodes, length)]
    update = [read.with_gradient()]
    if config.kl_estimator == "exact":
        # Both distributions over the vocabulary: as a penalty anew, in the loss beside the policy's own pass.
        experience += [read, read] if config.kl_in == "reward" else []
        update += [read] if config.kl_in == "loss" else []
    if value is not None:
        values = whole_rows(value, episodes, length, head_columns=0)
        experience, update = [*experience, values], [*update, values.with_gradient()]
    elif config.algorithm == "ppo":
        # A head on the policy's own states: the rollout reads them once more, the update's pass has them.
        experience.append(whole_rows(policy, episodes, length, head_columns=0))
    if config.pretraining.store:
        mix = config.pretraining
        update.append(whole_rows(policy, mix.sequences * config.minibatches, mix.sequence_length).with_gradient())
    training = [each.times(steps) for each in experience] + [each.times(steps * config.epochs) for each in update]
    drawing = [each for mean in lengths for each in sampled(policy, episodes, config.data.prompt_length, mean)]
    return Work(training, drawing)
