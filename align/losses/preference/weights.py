"""WPO's weights of pairs: how likely the policy is to have written them itself (Zhou et al. 2024, arXiv:2406.11827, eq. 2)."""

import jax
import jax.numpy as jnp

from align.losses.preference.pairs import Completions, PreferencePairs
from scaling.errors import ConfigError


def wpo_weights(pairs: PreferencePairs, kind: str) -> jax.Array:
    """[B], without gradient: product over both sides of the geometric mean of the probabilities of the tokens.

    Args:
      pairs: the pairs.
      kind: "plain", or "aligned": each probability divided by that of `Completions.log_alignment`, so that what the policy samples weighs about 1.

    Raises:
      ConfigError: "aligned" without `log_alignment`.
    """
    return jax.lax.stop_gradient(jnp.exp(_mean_log_weight(pairs.chosen, kind) + _mean_log_weight(pairs.rejected, kind)))


def _mean_log_weight(side: Completions, kind: str) -> jax.Array:
    log_weights_BxT = side.policy
    if kind == "aligned":
        if side.log_alignment is None:
            raise ConfigError(
                "PreferenceConfig.wpo is 'aligned', and the pairs have no log_alignment",
                "compute log sum_v pi(v)^2 beside the log-probabilities, or set wpo to 'plain'",
            )
        log_weights_BxT = log_weights_BxT - side.log_alignment
    return side.sums(log_weights_BxT) / jnp.maximum(side.lengths, 1)
