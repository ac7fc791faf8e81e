"""What one step of a stage computes when prompts and completions fill the room that its configuration gives them (no JAX here)."""

from typing import Any

from align.accounting.passes import Pass, answers, at_last_tokens, whole_rows
from align.accounting.reinforcement import reinforced
from align.accounting.work import Work
from align.losses.preference.options import LOSSES
from scaling.models.config import TransformerConfig


def supervised(config: Any, model: TransformerConfig) -> Work:
    """Packed rows."""
    return Work([whole_rows(model, config.training.batch_size, config.data.length).with_gradient()])


def reward(config: Any, model: TransformerConfig) -> Work:
    """Pairs, the last layer at their last tokens."""
    pairs = _pairs(config, model, head_columns=0)
    return Work([at_last_tokens(pairs, 2 * config.training.batch_size).with_gradient()])


def preference(config: Any, model: TransformerConfig) -> Work:
    """Pairs under the policy and, where it is live, the reference; a cached one is read once before all steps."""
    pairs = _pairs(config, model, config.data.completion_length, mismatched=_any(config, "needs_mismatched"))
    if not _any(config, "needs_reference"):
        return Work([pairs.with_gradient()])
    if config.reference == "cached":
        return Work([pairs.with_gradient()], preparation=[pairs])
    return Work([pairs.with_gradient(), pairs])


def reinforcement(config: Any, model: TransformerConfig) -> Work:
    """A rollout of the longest completions, and all its updates; reward models and a separate value network have the policy's architecture."""
    separate = config.algorithm == "ppo" and config.value.network == "separate"
    return reinforced(
        config,
        model,
        model if separate else None,
        [model] * len(config.reward.members),
        config.data.prompt_length,
        [config.data.completion_length],
    )


# Kind of stage -> its work.
STEPS = {"sft": supervised, "reward": reward, "preference": preference, "ppo": reinforcement}


def micro_batches(kind: str, config: Any) -> int:
    """Parts of a step that are on the devices one after the other."""
    return config.minibatches if kind == "ppo" else config.training.execution.accumulation


def largest_logits(kind: str, config: Any, work: Work) -> float:
    """Logits of one micro-batch: columns with a head times the vocabulary."""
    largest = max(work.training, key=lambda each: each.head_columns)
    passes = config.epochs if kind == "ppo" else 1
    return largest.head_columns / passes / micro_batches(kind, config) * largest.model.vocab_size


def _any(config: Any, need: str) -> bool:
    return any(getattr(LOSSES[term.loss], need) for term in config.terms)


def _pairs(config: Any, model: TransformerConfig, head_columns: int, mismatched: bool = False) -> Pass:
    data = config.data
    room = (data.prompt_length, data.completion_length)
    ranks = 4 if mismatched else 2
    return answers(model, config.training.batch_size, ranks, *room, data.length, head_columns)
