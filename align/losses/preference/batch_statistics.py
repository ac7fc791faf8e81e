"""What some losses need to know of the whole batch. It is taken over the whole batch first, so that cutting the batch changes nothing."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from align.losses.preference.config import PreferenceConfig, PreferenceMixture
from align.losses.preference.pairs import PreferencePairs
from align.losses.preference.quantities import Quantities
from align.sums import Sum


class BatchStatistics(NamedTuple):
    """Sums that micro-batches and devices add (:meth:`merged`); without gradient. None where the loss needs none.

    Attributes:
      kl: log-ratios of mismatched completions (KTO's z0 before it is clipped at 0).
      reward: implicit rewards beta s of both sides (BCO's shift); merge the running sum of earlier batches into it (:func:`running`).
      tokens: tokens of the chosen completions over pairs ("tokens" of `nll_reduction`).
    """

    kl: Sum | None = None
    reward: Sum | None = None
    tokens: Sum | None = None

    def merged(self, other: "BatchStatistics") -> "BatchStatistics":
        """Of both parts together."""
        return BatchStatistics(*(None if a is None else a.merged(b) for a, b in zip(self, other, strict=True)))


def batch_statistics(pairs: PreferencePairs, config: PreferenceConfig | PreferenceMixture) -> BatchStatistics:
    """Statistics of one batch, or of a part of it that is then merged with the others.

    Args:
      pairs: the batch.
      config: the loss; for a mixture, what any of its terms needs.
    """
    statistics = BatchStatistics()
    for term in config.terms if isinstance(config, PreferenceMixture) else (config,):
        found = _of_one_loss(pairs, term)
        statistics = BatchStatistics(*(b if a is None else a for a, b in zip(statistics, found, strict=True)))
    return jax.lax.stop_gradient(statistics)


def running(state: Sum, batch: Sum, decay: float = 1.0) -> Sum:
    """The running sum of BCO's rewards; a small tree that goes into the checkpoint. Begin with `Sum(0, 0)`.

    Args:
      state: of the batches so far.
      batch: `BatchStatistics.reward` of this one.
      decay: what a batch still counts after the next one; 1 gives the mean of everything seen, less than 1 an exponentially weighted mean without bias
        at its beginning.
    """
    return Sum(decay * state.total + batch.total, decay * state.count + batch.count)


def _of_one_loss(pairs: PreferencePairs, config: PreferenceConfig) -> BatchStatistics:
    kl = reward = tokens = None
    if config.loss == "kto" and pairs.mismatched is not None:
        kl = Sum.over(pairs.mismatched.log_ratios)
    if config.loss == "bco":
        quantities = Quantities(pairs, config)
        reward = Sum.over(config.beta * jnp.concatenate([quantities.chosen, quantities.rejected]))
    if config.nll_reduction == "tokens":
        tokens = Sum.over(pairs.chosen.lengths)
    return BatchStatistics(kl, reward, tokens)
