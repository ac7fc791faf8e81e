"""What losses are functions of: log-ratios, scores and likelihoods of pairs, as a configuration wants them summed."""

from functools import cached_property

import jax
import jax.numpy as jnp

from align.losses.preference.config import PreferenceConfig
from align.losses.preference.divergences import score
from align.losses.preference.options import LOSSES
from align.losses.preference.pairs import Completions, PreferencePairs


class Quantities:
    """Sums over tokens of a batch of pairs, [B] each, computed when first asked for.

    Args:
      pairs: the batch.
      config: the loss; its `ld_alpha`, `f_divergence`, `reduction` and label options shape the sums.
    """

    def __init__(self, pairs: PreferencePairs, config: PreferenceConfig):
        self.pairs = pairs
        self.config = config

    @cached_property
    def chosen(self) -> jax.Array:
        """s_w: log-ratio of the chosen."""
        return self.total(self.pairs.chosen, self.pairs.chosen.policy - self.pairs.chosen.reference)

    @cached_property
    def rejected(self) -> jax.Array:
        """s_l: log-ratio of the rejected."""
        return self.total(self.pairs.rejected, self.pairs.rejected.policy - self.pairs.rejected.reference)

    @cached_property
    def chosen_score(self) -> jax.Array:
        """f'(pi / ref) of the chosen; the log-ratio itself under reverse KL."""
        return self._score(self.chosen)

    @cached_property
    def rejected_score(self) -> jax.Array:
        """f'(pi / ref) of the rejected."""
        return self._score(self.rejected)

    @property
    def margins(self) -> jax.Array:
        """h = s_w - s_l."""
        return self.chosen_score - self.rejected_score

    @property
    def mean_margins(self) -> jax.Array:
        """h of scores divided by the completions' lengths."""
        chosen, rejected = self.pairs.chosen, self.pairs.rejected
        of_chosen = self.chosen_score / jnp.maximum(chosen.lengths, 1)
        return of_chosen - self.rejected_score / jnp.maximum(rejected.lengths, 1)

    @property
    def policy_margins(self) -> jax.Array:
        """log pi(y_w) - log pi(y_l)."""
        chosen, rejected = self.pairs.chosen, self.pairs.rejected
        return self.total(chosen, chosen.policy) - self.total(rejected, rejected.policy)

    @property
    def reference_margins(self) -> jax.Array:
        """log ref(y_w) - log ref(y_l)."""
        chosen, rejected = self.pairs.chosen, self.pairs.rejected
        return self.total(chosen, chosen.reference) - self.total(rejected, rejected.reference)

    @property
    def flip(self) -> float | jax.Array:
        """Probability that a label is wrong: label smoothing e over soft labels p, (1 - p)(1 - e) + p e."""
        smoothing = self.config.option("label_smoothing")
        if self.pairs.probability is None:
            return smoothing
        return smoothing + (1 - self.pairs.probability) * (1 - 2 * smoothing)

    def nll(self, side: Completions, tokens_per_pair: jax.Array | None = None) -> jax.Array:
        """-log pi(y | x), reduced as `nll_reduction` says.

        Args:
          side: chosen or rejected.
          tokens_per_pair: mean length of the chosen in the whole batch, for "tokens".
        """
        reduction = self.config.option("nll_reduction")
        if reduction == "mean":
            return -side.policy_means
        return -side.policy_sums / (tokens_per_pair if reduction == "tokens" else 1)

    def total(self, side: Completions, values_BxT: jax.Array) -> jax.Array:
        """Sums over tokens; with `ld_alpha` below 1, tokens beyond the shorter completion's length count less (LD-DPO)."""
        weight = self.config.option("ld_alpha") if "ld_alpha" in LOSSES[self.config.loss].options else 1.0
        if weight == 1.0:
            return side.sums(values_BxT)
        shared_B = jnp.minimum(self.pairs.chosen.lengths, self.pairs.rejected.lengths)
        return side.sums(values_BxT, shared_B, weight)

    def _score(self, log_ratios: jax.Array) -> jax.Array:
        if "f_divergence" not in LOSSES[self.config.loss].options:
            return log_ratios
        return score(log_ratios, *(self.config.option(name) for name in ("f_divergence", "alpha", "alpha_convention")))
