"""Temperature, top-k and top-p: from a model's logits to those of the distribution that is sampled.

Both filters keep the smallest set of likeliest tokens whose measure reaches a target: top-k counts tokens, top-p adds up probabilities. The set is
found by bisection, not by sorting: a sort of the vocabulary costs as much as several layers of a small model on CPU and is slow on accelerators.
"""

import jax
import jax.numpy as jnp

from align.generation.sampling_config import SamplingConfig


def sampling_logits(logits_BxV: jax.Array, config: SamplingConfig) -> jax.Array:
    """Unnormalised log-probabilities of the distribution that is sampled.

    Args:
      logits_BxV: the model's, float32; -inf excludes a token.
      config: temperature (above 0), top_k and top_p.

    Returns:
      [B, V], -inf at tokens that are filtered out.

    Raises:
      ValueError: the temperature is 0, which is no distribution over several tokens.
    """
    if config.temperature == 0:
        raise ValueError("temperature 0 has no logits: it takes the likeliest token")
    logits_BxV = logits_BxV / config.temperature
    batch, vocab_size = logits_BxV.shape
    if 0 < config.top_k < vocab_size:
        kept_BxV = likeliest(logits_BxV, jnp.ones_like(logits_BxV), jnp.full((batch,), config.top_k, logits_BxV.dtype))
        logits_BxV = jnp.where(kept_BxV, logits_BxV, -jnp.inf)
    if config.top_p < 1:
        weights_BxV = jnp.exp(logits_BxV - jnp.max(logits_BxV, axis=-1, keepdims=True))
        kept_BxV = likeliest(logits_BxV, weights_BxV, config.top_p * jnp.sum(weights_BxV, axis=-1))
        logits_BxV = jnp.where(kept_BxV, logits_BxV, -jnp.inf)
    return logits_BxV


def likeliest(logits_BxV: jax.Array, measure_BxV: jax.Array, target_B: jax.Array) -> jax.Array:
    """The smallest set of likeliest tokens whose measure reaches a target; lower ids come first among equal logits.

    Args:
      logits_BxV: float32, the order.
      measure_BxV: not negative.
      target_B: above 0; where even all tokens do not reach it, all are kept.

    Returns:
      bool [B, V].
    """
    vocab_size = logits_BxV.shape[-1]
    order_BxV = _ordered_bits(logits_BxV)
    threshold_Bx1 = _largest_threshold(order_BxV, measure_BxV, target_B, bits=32)[:, None]
    above_BxV, equal_BxV = order_BxV > threshold_Bx1, order_BxV == threshold_Bx1
    missing_B = target_B - jnp.sum(jnp.where(above_BxV, measure_BxV, 0), axis=-1)
    # Among equals the order is that of ids, from the last (0) to the first.
    from_last_BxV = jnp.broadcast_to(jnp.arange(vocab_size, dtype=jnp.uint32)[::-1][None, :], order_BxV.shape)
    bits = max(vocab_size - 1, 1).bit_length()
    threshold_Bx1 = _largest_threshold(from_last_BxV, jnp.where(equal_BxV, measure_BxV, 0), missing_B, bits)[:, None]
    return above_BxV | (equal_BxV & (from_last_BxV >= threshold_Bx1))


def _ordered_bits(x: jax.Array) -> jax.Array:
    """uint32 in the order of the float32 numbers: negative ones are stored as sign and magnitude, so their bits run backwards."""
    zero_is_positive = jnp.where(x == 0, 0, x).astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(zero_is_positive, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    return jnp.where(bits >= sign, ~bits, bits | sign)


def _largest_threshold(order_BxV: jax.Array, measure_BxV: jax.Array, target_B: jax.Array, bits: int) -> jax.Array:
    """The largest uint32 such that what is not below it measures at least the target, bit by bit from the highest: [B]."""

    def decide(index, threshold_B):
        raised_B = threshold_B | (jnp.uint32(1) << (bits - 1 - index).astype(jnp.uint32))
        reached_B = jnp.sum(jnp.where(order_BxV >= raised_B[:, None], measure_BxV, 0), axis=-1) >= target_B
        return jnp.where(reached_B, raised_B, threshold_B)

    return jax.lax.fori_loop(0, bits, decide, jnp.zeros(target_B.shape, jnp.uint32))
