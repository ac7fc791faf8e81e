"""How the losses of tokens become the loss of a batch: as weights and a count, so that parts of a batch add."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from align.sums import Sum

Normalisation = Literal["tokens", "sequences", "constant", "sum"]


class TokenWeights(NamedTuple):
    """Loss of the batch = sum over its tokens of weight times loss, divided by the count.

    Attributes:
      weights: [B, T], 0 outside the completions.
      count: scalar.
    """

    weights: jax.Array
    count: jax.Array

    def of(self, losses_BxT: jax.Array) -> Sum:
        """The weighted sum of per-token losses with its count; what lies where the weight is 0 is not read."""
        weighted_BxT = self.weights * jnp.where(self.weights > 0, losses_BxT, 0)
        return Sum(jnp.sum(weighted_BxT), self.count)


def token_weights(
    mask_BxT: jax.Array, normalisation: Normalisation = "tokens", max_length: int | None = None, dtype=jnp.float32
) -> TokenWeights:
    """Weights of tokens by name.

    Args:
      mask_BxT: not 0 at the completions' tokens.
      normalisation: "tokens": mean over all tokens (PPO; DAPO, Yu et al. 2025, arXiv:2503.14476); "sequences": mean over completions of means over their
        tokens (GRPO, Shao et al. 2024, eq. 3); "constant": sums over tokens divided by `max_length`, mean over completions (Dr. GRPO, Liu et al. 2025);
        "sum": mean over completions of sums.
      max_length: of "constant".
      dtype: of the weights.

    Raises:
      ValueError: "constant" without `max_length`.
    """
    real_BxT = mask_BxT.astype(bool)
    rows = jnp.asarray(mask_BxT.shape[0], dtype)
    weights_BxT = real_BxT.astype(dtype)
    if normalisation == "tokens":
        return TokenWeights(weights_BxT, jnp.sum(weights_BxT))
    if normalisation == "sequences":
        return TokenWeights(weights_BxT / jnp.maximum(jnp.sum(weights_BxT, axis=-1, keepdims=True), 1), rows)
    if normalisation == "sum":
        return TokenWeights(weights_BxT, rows)
    if max_length is None:
        raise ValueError("the normalisation 'constant' needs max_length")
    return TokenWeights(weights_BxT / max_length, rows)
