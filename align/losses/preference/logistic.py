"""Losses that put a margin through the logistic function: DPO and what changes its labels or its tails.

`margins` are h = s_w - s_l, scores of the chosen minus those of the rejected completion, in nats; losses have their shape.
"""

import jax
import jax.numpy as jnp

from align.bounded_exp import bounded_exp


def sigmoid(margins: jax.Array, beta: float, label_smoothing: float | jax.Array = 0.0) -> jax.Array:
    """-(1 - e) log sig(beta h) - e log sig(-beta h).

    With e = 0 this is DPO (Rafailov et al. 2023, eq. 7); with e > 0 conservative DPO (Mitchell 2023), whose optimum is at beta h = logit(1 - e).

    Args:
      margins: h.
      beta: scale of the margins.
      label_smoothing: e, the probability that the label is wrong; an array in the shape of the margins makes soft labels.
    """
    logits = beta * margins
    return -(1 - label_smoothing) * jax.nn.log_sigmoid(logits) - label_smoothing * jax.nn.log_sigmoid(-logits)


def robust(margins: jax.Array, beta: float, label_smoothing: float) -> jax.Array:
    """[-(1 - e) log sig(beta h) + e log sig(-beta h)] / (1 - 2 e) (Chowdhury et al. 2024).

    Its mean under labels flipped at rate e is the DPO loss of clean labels; it is unbounded below.
    """
    logits = beta * margins
    clean, flipped = -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
    return ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def exo(margins: jax.Array, beta: float, label_smoothing: float) -> jax.Array:
    """KL(q || p) with q = (sig(beta h), sig(-beta h)) of the policy and p = (1 - e, e) of the labels (Ji et al. 2024, eq. 16 for two completions)."""
    logits = beta * margins
    log_chosen, log_rejected = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    e = jnp.asarray(label_smoothing, margins.dtype)
    return jnp.exp(log_chosen) * (log_chosen - jnp.log1p(-e)) + jnp.exp(log_rejected) * (log_rejected - jnp.log(e))


def discopop(margins: jax.Array, beta: float, temperature: float = 0.05) -> jax.Array:
    """(1 - m) (-log sig(l)) + m exp(-l) with l = beta h and m = sig(l / temperature) (Lu et al. 2024, eq. 5).

    m exp(-l) is taken as one exponential: apart, its factors are 0 and infinite at large negative l.
    """
    logits = beta * margins
    log_modulation = jax.nn.log_sigmoid(logits / temperature)
    logistic = -jax.nn.log_sigmoid(logits) * jax.nn.sigmoid(-logits / temperature)
    return logistic + bounded_exp(log_modulation - logits)
