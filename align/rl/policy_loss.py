"""Losses of policies: PPO's clipped surrogate (Schulman et al. 2017, arXiv:1707.06347, eq. 7), entropy and the mix of pretraining text."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from align.bounded_exp import bounded_exp
from align.rl.kl import k3
from align.rl.token_weights import TokenWeights, token_weights
from align.sums import Sum


class PolicyLoss(NamedTuple):
    """The loss and what monitors ask of a minibatch; sums add over micro-batches, and `ratio_max` by maximum.

    Attributes:
      loss: what is minimised.
      clipped: fraction of tokens (or sequences) where a clip set the loss, so that no gradient flows.
      approximate_kl: KL(old || new) by k3 on samples of the old policy.
      ratio: mean of pi / pi_old.
      ratio_max: scalar, the largest ratio; exactly 1 on the first minibatch of a rollout.
    """

    loss: Sum
    clipped: Sum
    approximate_kl: Sum
    ratio: Sum
    ratio_max: jax.Array

    def merged(self, other: "PolicyLoss") -> "PolicyLoss":
        """Of both micro-batches together."""
        sums = (mine.merged(its) for mine, its in zip(self[:-1], other[:-1], strict=True))
        return PolicyLoss(*sums, jnp.maximum(self.ratio_max, other.ratio_max))


def surrogate(
    log_ratio: jax.Array,
    advantages: jax.Array,
    clip: float = 0.2,
    clip_high: float | None = None,
    dual_clip: float | None = None,
) -> jax.Array:
    """max(-A rho, -A clip(rho, 1 - e, 1 + e')), rho = exp(log pi - log pi_old), of any shape.

    Args:
      log_ratio: log rho.
      advantages: A, broadcastable by rank.
      clip: e.
      clip_high: e' where it differs (DAPO); None: e.
      dual_clip: c > 1: where A < 0 the loss is at most -c A (Ye et al. 2020, arXiv:1912.09729, eq. 5); None switches it off.
    """
    ratio = bounded_exp(log_ratio)
    clipped_ratio = jnp.clip(ratio, 1 - clip, 1 + (clip if clip_high is None else clip_high))
    losses = jnp.maximum(-advantages * ratio, -advantages * clipped_ratio)
    if dual_clip is None:
        return losses
    return jnp.where(advantages < 0, jnp.minimum(losses, -advantages * dual_clip), losses)


def policy_loss(
    log_probs_BxT: jax.Array,
    old_log_probs_BxT: jax.Array,
    advantages_BxT: jax.Array,
    mask_BxT: jax.Array,
    clip: float = 0.2,
    clip_high: float | None = None,
    dual_clip: float | None = None,
    weights: TokenWeights | None = None,
) -> PolicyLoss:
    """The clipped surrogate over tokens.

    Args:
      log_probs_BxT: log pi of the sampled tokens, differentiated.
      old_log_probs_BxT: of the policy that sampled them, by the same program and temperature.
      advantages_BxT: A_t; for one advantage a completion, broadcast it.
      mask_BxT: not 0 at the completions' tokens; what stands elsewhere is not read.
      clip, clip_high, dual_clip: see :func:`surrogate`.
      weights: how tokens are averaged; None: the mean over tokens.
    """
    real_BxT = mask_BxT.astype(bool)
    log_ratio_BxT = jnp.where(real_BxT, log_probs_BxT - jax.lax.stop_gradient(old_log_probs_BxT), 0)
    advantages_BxT = jax.lax.stop_gradient(jnp.where(real_BxT, advantages_BxT, 0))
    losses_BxT = surrogate(log_ratio_BxT, advantages_BxT, clip, clip_high, dual_clip)
    weights = token_weights(mask_BxT, dtype=log_probs_BxT.dtype) if weights is None else weights
    return _monitored(weights.of(losses_BxT), losses_BxT, log_ratio_BxT, advantages_BxT, real_BxT)


def sequence_policy_loss(
    log_probs_BxT: jax.Array,
    old_log_probs_BxT: jax.Array,
    advantages_B: jax.Array,
    mask_BxT: jax.Array,
    clip: float = 0.2,
    clip_high: float | None = None,
) -> PolicyLoss:
    """The surrogate with one ratio a completion, pi(y | x) / pi_old(y | x), as RLOO has it: mean over completions."""
    real_BxT = mask_BxT.astype(bool)
    differences_BxT = log_probs_BxT - jax.lax.stop_gradient(old_log_probs_BxT)
    log_ratio_B = jnp.sum(jnp.where(real_BxT, differences_BxT, 0), axis=-1)
    advantages_B = jax.lax.stop_gradient(advantages_B)
    losses_B = surrogate(log_ratio_B, advantages_B, clip, clip_high)
    return _monitored(Sum.over(losses_B), losses_B, log_ratio_B, advantages_B, jnp.ones(losses_B.shape, bool))


def entropy(logits: jax.Array) -> jax.Array:
    """-sum_v p log p in nats: [...] from logits [..., V]."""
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    probs = jnp.exp(log_probs)
    return -jnp.sum(jnp.where(probs > 0, probs * log_probs, 0), axis=-1)


def pretraining_loss(log_probs_BxT: jax.Array, mask_BxT: jax.Array) -> Sum:
    """-log pi of pretraining text, per token. PPO-ptx adds its mean gamma times (Ouyang et al. 2022, eq. 2)."""
    return Sum.over(-log_probs_BxT, mask_BxT)


def _monitored(loss: Sum, losses, log_ratio, advantages, real) -> PolicyLoss:
    log_ratio, losses = jax.lax.stop_gradient((log_ratio, losses))
    ratio = bounded_exp(log_ratio)
    return PolicyLoss(
        loss=loss,
        clipped=Sum.over((losses != -advantages * ratio).astype(ratio.dtype), real),
        approximate_kl=Sum.over(k3(-log_ratio), real),
        ratio=Sum.over(ratio, real),
        ratio_max=jnp.max(jnp.where(real, ratio, 0)),
    )
