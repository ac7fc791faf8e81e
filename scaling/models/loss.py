"""Losses over tokens, in float32, as sums, so that micro-batches, devices and domains add up exactly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class LossSums(NamedTuple):
    """Sums over the tokens that count; divide by `tokens` after adding up all parts of a batch.

    Attributes:
      nats: float32 [], cross-entropy.
      squared_log_z: float32 [], (log Z)^2, which a z-loss weighs (PaLM, Chowdhery et al. 2022, section 5).
      tokens: float32 [], how many tokens count.
    """

    nats: jax.Array
    squared_log_z: jax.Array
    tokens: jax.Array


def token_nats(logits_BxTxV: jax.Array, targets_BxT: jax.Array) -> jax.Array:
    """Cross-entropy of every token in nats: float32 [B, T]."""
    log_z_BxT, target_logit_BxT = _log_z_and_target(logits_BxTxV, targets_BxT)
    return log_z_BxT - target_logit_BxT


def masked_sums(logits_BxTxV: jax.Array, targets_BxT: jax.Array, loss_mask_BxT: jax.Array) -> LossSums:
    """The sums that a training objective is made of.

    Args:
      logits_BxTxV: unnormalised log probabilities.
      targets_BxT: token ids.
      loss_mask_BxT: 1 where a token counts, 0 elsewhere.
    """
    log_z_BxT, target_logit_BxT = _log_z_and_target(logits_BxTxV, targets_BxT)
    mask_BxT = loss_mask_BxT.astype(jnp.float32)
    return LossSums(
        nats=jnp.sum((log_z_BxT - target_logit_BxT) * mask_BxT),
        squared_log_z=jnp.sum(jnp.square(log_z_BxT) * mask_BxT),
        tokens=jnp.sum(mask_BxT),
    )


def _log_z_and_target(logits_BxTxV: jax.Array, targets_BxT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log of the softmax's normaliser and the target's logit, [B, T] each.

    The logit is selected by comparison, not by a gather, so that logits split along the vocabulary need only a sum over devices.
    """
    logits_BxTxV = logits_BxTxV.astype(jnp.float32)
    log_z_BxT = jax.nn.logsumexp(logits_BxTxV, axis=-1)
    vocabulary_V = jnp.arange(logits_BxTxV.shape[-1], dtype=targets_BxT.dtype)
    is_target_BxTxV = targets_BxT[:, :, None] == vocabulary_V[None, None, :]
    return log_z_BxT, jnp.sum(jnp.where(is_target_BxTxV, logits_BxTxV, 0.0), axis=-1)
