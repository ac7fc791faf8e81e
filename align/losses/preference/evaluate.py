"""Losses and implicit rewards of a batch of preference pairs, by configuration."""

from typing import NamedTuple

import jax

from align.losses.preference.batch_statistics import BatchStatistics, batch_statistics
from align.losses.preference.catalogue import FUNCTIONS
from align.losses.preference.config import PreferenceConfig, PreferenceMixture
from align.losses.preference.options import LOSSES
from align.losses.preference.pairs import PreferencePairs
from align.losses.preference.quantities import Quantities
from align.losses.preference.weights import wpo_weights
from scaling.errors import ConfigError


class PreferenceOutcome(NamedTuple):
    """What a loss says of every pair.

    Attributes:
      losses: [B], nats. The loss of a batch is their mean; micro-batches add sums and counts.
      chosen_rewards: [B], implicit rewards, without gradient.
      rejected_rewards: [B].
      chosen_log_probs: [B], log pi(y | x) of whole completions, nats, without gradient: both sides often fall while their margin grows.
      rejected_log_probs: [B].
    """

    losses: jax.Array
    chosen_rewards: jax.Array
    rejected_rewards: jax.Array
    chosen_log_probs: jax.Array
    rejected_log_probs: jax.Array

    @property
    def margins(self) -> jax.Array:
        """[B]: implicit reward of the chosen minus that of the rejected."""
        return self.chosen_rewards - self.rejected_rewards

    @property
    def correct(self) -> jax.Array:
        """[B]: 1 where the chosen has the higher implicit reward, strictly: ties, as at step 0, count as 0."""
        return (self.chosen_rewards > self.rejected_rewards).astype(self.losses.dtype)


def evaluate(
    pairs: PreferencePairs, config: PreferenceConfig | PreferenceMixture, statistics: BatchStatistics | None = None
) -> PreferenceOutcome:
    """Losses and implicit rewards.

    Args:
      pairs: the batch, or a part of one.
      config: the loss, or a mixture.
      statistics: of the whole batch (`batch_statistics`); None: `pairs` is the whole batch.

    Raises:
      ConfigError: the pairs lack what the loss reads (a reference, mismatched completions), or bring soft labels that it cannot take.
    """
    if statistics is None:
        statistics = batch_statistics(pairs, config)
    if isinstance(config, PreferenceConfig):
        first, losses = config, _losses(pairs, config, statistics)
    else:
        first = config.terms[0]
        terms = zip(config.weights, config.terms, strict=True)
        losses = sum(weight * _losses(pairs, term, statistics) for weight, term in terms)
    log_probs = jax.lax.stop_gradient((pairs.chosen.policy_sums, pairs.rejected.policy_sums))
    return PreferenceOutcome(losses, *implicit_rewards(pairs, first), *log_probs)


def implicit_rewards(pairs: PreferencePairs, config: PreferenceConfig) -> tuple[jax.Array, jax.Array]:
    """[B] of the chosen and of the rejected, without gradient.

    beta times: the score f'(pi / ref), that is log pi - log ref under reverse KL, of losses with a reference; the mean log-probability of SimPO and ORPO; the
    log-probability of the others.
    """
    chosen, rejected = pairs.chosen, pairs.rejected
    if LOSSES[config.loss].needs_reference:
        quantities = Quantities(pairs, config)
        rewards = (quantities.chosen_score, quantities.rejected_score)
    elif config.loss in ("simpo", "orpo"):
        rewards = (chosen.policy_means, rejected.policy_means)
    else:
        rewards = (chosen.policy_sums, rejected.policy_sums)
    return jax.lax.stop_gradient((config.beta * rewards[0], config.beta * rewards[1]))


def _losses(pairs: PreferencePairs, config: PreferenceConfig, statistics: BatchStatistics) -> jax.Array:
    _check(pairs, config, statistics)
    losses_B = FUNCTIONS[config.loss](Quantities(pairs, config), statistics)
    if "wpo" in LOSSES[config.loss].options and config.option("wpo") != "none":
        losses_B = wpo_weights(pairs, config.option("wpo")) * losses_B
    return losses_B


def _check(pairs: PreferencePairs, config: PreferenceConfig, statistics: BatchStatistics) -> None:
    published = LOSSES[config.loss]
    if published.needs_reference and (pairs.chosen.reference is None or pairs.rejected.reference is None):
        raise ConfigError(
            f"the loss {config.loss!r} needs a reference, and the pairs have none",
            "give a reference model, or choose a loss without one: orpo, simpo, cpo",
        )
    if published.needs_mismatched and statistics.kl is None:
        raise ConfigError(
            f"the loss {config.loss!r} needs completions of other prompts, and the pairs have no `mismatched`",
            "give them, from a batch of at least two prompts",
        )
    if pairs.probability is not None and not published.soft_labels:
        takers = ", ".join(sorted(name for name, loss in LOSSES.items() if loss.soft_labels))
        raise ConfigError(
            f"the loss {config.loss!r} takes no soft labels", f"choose one of {takers}, or make the labels hard"
        )
