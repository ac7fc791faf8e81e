"""What preference losses read: log-probabilities of the tokens of two completions of one prompt, and the sums and means they need of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Completions(NamedTuple):
    """One completion a row; a token's log-probability stands at the token's own index.

    Attributes:
      policy: [B, T], log pi(token t | tokens before t), nats.
      mask: [B, T], not 0 at the tokens of the completion, EOS included. What stands elsewhere is never read.
      reference: [B, T], the same of the reference; None for losses that need none.
      log_alignment: [B, T], for WPO's weights: log sum_v pi(v | tokens before t)^2 (aligned to samples) or log max_v pi(v | ...) (to greedy text).
    """

    policy: jax.Array
    mask: jax.Array
    reference: jax.Array | None = None
    log_alignment: jax.Array | None = None

    @property
    def lengths(self) -> jax.Array:
        """[B]: tokens of each completion, in the type of the log-probabilities."""
        return jnp.sum(self.mask.astype(bool), axis=-1, dtype=self.policy.dtype)

    @property
    def policy_sums(self) -> jax.Array:
        """[B]: log pi(y | x)."""
        return self.sums(self.policy)

    @property
    def policy_means(self) -> jax.Array:
        """[B]: log pi(y | x) / |y|."""
        return self.policy_sums / jnp.maximum(self.lengths, 1)

    @property
    def log_ratios(self) -> jax.Array:
        """[B]: log pi(y | x) - log ref(y | x), summed over tokens as differences, which loses least."""
        return self.sums(self.policy - self.reference)

    def sums(self, values_BxT: jax.Array, tail_from_B: jax.Array | None = None, tail_weight: float = 1.0) -> jax.Array:
        """[B]: sums over the completion's tokens.

        Args:
          values_BxT: what is summed.
          tail_from_B: number of leading tokens that count in full; the others count `tail_weight` times. None: all count in full.
          tail_weight: see `tail_from_B`.
        """
        counted_BxT = self.mask.astype(bool)
        values_BxT = jnp.where(counted_BxT, values_BxT, 0)
        if tail_from_B is not None:
            place_BxT = jnp.cumsum(counted_BxT, axis=-1, dtype=values_BxT.dtype)
            values_BxT = jnp.where(place_BxT <= tail_from_B[:, None], values_BxT, tail_weight * values_BxT)
        return jnp.sum(values_BxT, axis=-1)


class PreferencePairs(NamedTuple):
    """Row b of both sides answers the same prompt.

    Attributes:
      chosen: the preferred completions.
      rejected: the others; T may differ.
      probability: [B], soft labels: the probability that `chosen` is preferred. None: 1.
      mismatched: for KTO's estimate of KL(pi || ref): completions of other prompts under this prompt, [M, T].
    """

    chosen: Completions
    rejected: Completions
    probability: jax.Array | None = None
    mismatched: Completions | None = None
