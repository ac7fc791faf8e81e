"""RMSNorm and LayerNorm over the last axis, in float32."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from scaling.models.config import TransformerConfig


def normalise(x_BxTxD: jax.Array, parameters: Mapping[str, jax.Array], config: TransformerConfig) -> jax.Array:
    """RMSNorm (Zhang and Sennrich 2019, equation 4) or LayerNorm (Ba et al. 2016, equation 4).

    Args:
      x_BxTxD: activations.
      parameters: "scale" [D] and, where the architecture has biases, "bias" [D].
      config: names the norm and its epsilon, which is added to the mean square or variance.
    """
    if config.norm == "layernorm":
        x_BxTxD = x_BxTxD - jnp.mean(x_BxTxD, axis=-1, keepdims=True)
    mean_square_BxTx1 = jnp.mean(jnp.square(x_BxTxD), axis=-1, keepdims=True)
    y_BxTxD = x_BxTxD * jax.lax.rsqrt(mean_square_BxTx1 + config.norm_epsilon) * parameters["scale"][None, None, :]
    if "bias" in parameters:
        y_BxTxD = y_BxTxD + parameters["bias"][None, None, :]
    return y_BxTxD
