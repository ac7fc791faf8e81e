"""Estimators of KL(pi || ref) from samples of pi, and the exact one from logits.

Schulman 2020, 'Approximating KL divergence', with d = log pi - log ref of a sampled token:

    k1 = d                      unbiased, can be negative
    k2 = d^2 / 2                biased, never negative
    k3 = exp(-d) - 1 + d        unbiased, never negative

As losses on samples of the policy itself their gradients differ from what the names promise: k1's has expectation 0, k2's is that of KL(pi || ref), and k3's is
that of KL(ref || pi).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from align.bounded_exp import bounded_exp


def k1(log_ratio: jax.Array) -> jax.Array:
    """d, of any shape."""
    return log_ratio


def k2(log_ratio: jax.Array) -> jax.Array:
    """d^2 / 2, of any shape."""
    return 0.5 * jnp.square(log_ratio)


def k3(log_ratio: jax.Array) -> jax.Array:
    """exp(-d) - 1 + d, of any shape; by expm1 where d is small, so that two nearly equal policies keep their digits."""
    near = jnp.abs(log_ratio) < 1
    small = jnp.expm1(jnp.where(near, -log_ratio, 0))
    return jnp.where(near, small, bounded_exp(-log_ratio) - 1) + log_ratio


ESTIMATORS: dict[str, Callable[[jax.Array], jax.Array]] = {"k1": k1, "k2": k2, "k3": k3}


def token_kl(
    log_probs_BxT: jax.Array,
    reference_log_probs_BxT: jax.Array,
    mask_BxT: jax.Array,
    estimator: str = "k1",
    clamp: float | None = None,
) -> jax.Array:
    """An estimate at every token of a completion: [B, T], 0 elsewhere.

    Args:
      log_probs_BxT: log pi of the sampled tokens, under the very distribution that sampled them.
      reference_log_probs_BxT: log ref of the same tokens.
      mask_BxT: not 0 at the completion's tokens; what stands elsewhere is not read.
      estimator: "k1", "k2" or "k3".
      clamp: bounds d to plus or minus this, as some libraries do (10); None, the papers' form, does not.
    """
    log_ratio_BxT = jnp.where(mask_BxT.astype(bool), log_probs_BxT - reference_log_probs_BxT, 0)
    if clamp is not None:
        log_ratio_BxT = jnp.clip(log_ratio_BxT, -clamp, clamp)
    return ESTIMATORS[estimator](log_ratio_BxT)


def exact_token_kl(logits: jax.Array, reference_logits: jax.Array) -> jax.Array:
    """KL(pi || ref) of the next token over the whole vocabulary, in nats: [...] from logits [..., V]; exactly 0 for equal logits."""
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    reference_log_probs = jax.nn.log_softmax(reference_logits, axis=-1)
    probs = jnp.exp(log_probs)
    # A token without probability adds nothing, whatever the reference says of it.
    return jnp.sum(jnp.where(probs > 0, probs * (log_probs - reference_log_probs), 0), axis=-1)


def sequence_kl(token_kl_BxT: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """[B]: nats of whole completions, the sum over their tokens."""
    return jnp.sum(jnp.where(mask_BxT.astype(bool), token_kl_BxT, 0), axis=-1)
