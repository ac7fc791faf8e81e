"""The loss of a value function, clipped as PPO's implementations do, and how much of the returns it explains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from align.rl.whitening import Moments
from align.sums import Sum


class ValueLoss(NamedTuple):
    """The loss and its monitors; sums add over micro-batches, moments merge.

    Attributes:
      loss: 1/2 max of the squared errors, mean over tokens.
      clipped: fraction of tokens where the clipped error was the larger.
      errors: moments of R - V.
      returns: moments of R.
    """

    loss: Sum
    clipped: Sum
    errors: Moments
    returns: Moments

    @property
    def explained_variance(self) -> jax.Array:
        """1 - var(R - V) / var(R); 0 where the returns do not vary."""
        varies = self.returns.deviations > 0
        share = self.errors.deviations / jnp.where(varies, self.returns.deviations, 1)
        return jnp.where(varies, 1 - share, 0)

    def merged(self, other: "ValueLoss") -> "ValueLoss":
        """Of both micro-batches together."""
        return ValueLoss(*(mine.merged(its) for mine, its in zip(self, other, strict=True)))


def value_loss(
    values_BxT: jax.Array,
    old_values_BxT: jax.Array,
    returns_BxT: jax.Array,
    mask_BxT: jax.Array,
    clip: float | None = 0.2,
) -> ValueLoss:
    """1/2 max((V - R)^2, (clip(V, V_old - e, V_old + e) - R)^2) (Dhariwal et al. 2017, baselines' ppo2; Stiennon et al. 2020).

    Args:
      values_BxT: V_t, differentiated.
      old_values_BxT: of the value function at the rollout.
      returns_BxT: R_t, targets (`gae`).
      mask_BxT: not 0 at the completions' tokens; what stands elsewhere is not read.
      clip: e; None leaves the plain squared error.
    """
    real_BxT = mask_BxT.astype(bool)
    values_BxT = jnp.where(real_BxT, values_BxT, 0)
    returns_BxT = jax.lax.stop_gradient(jnp.where(real_BxT, returns_BxT, 0))
    old_values_BxT = jax.lax.stop_gradient(jnp.where(real_BxT, old_values_BxT, 0))
    plain_BxT = jnp.square(values_BxT - returns_BxT)
    clipped_BxT = plain_BxT
    if clip is not None:
        clipped_BxT = jnp.square(jnp.clip(values_BxT, old_values_BxT - clip, old_values_BxT + clip) - returns_BxT)
    return ValueLoss(
        loss=Sum.over(0.5 * jnp.maximum(plain_BxT, clipped_BxT), real_BxT),
        clipped=Sum.over((clipped_BxT > plain_BxT).astype(values_BxT.dtype), real_BxT),
        errors=Moments.over(jax.lax.stop_gradient(returns_BxT - values_BxT), real_BxT),
        returns=Moments.over(returns_BxT, real_BxT),
    )
