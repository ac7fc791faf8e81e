"""The feed-forward block: GELU, or a gated unit."""

from collections.abc import Mapping

import jax

from scaling.mesh import constrain
from scaling.models.config import TransformerConfig
from scaling.models.precision import ComputeDtype
from scaling.models.projections import project


def feed_forward(
    x_BxTxD: jax.Array, parameters: Mapping[str, jax.Array], config: TransformerConfig, compute_dtype: ComputeDtype
) -> jax.Array:
    """down(gelu(up x)), down(silu(gate x) * up x) or down(gelu(gate x) * up x) (Shazeer 2020, equations 5 and 6).

    Args:
      x_BxTxD: the block's (normalised) input.
      parameters: kernels "up" [D, F], "down" [F, D], gated also "gate" [D, F]; biases where the architecture has them.
    """

    def hidden_projection(name: str) -> jax.Array:
        y_BxTxF = constrain(project(x_BxTxD, parameters[name], compute_dtype), ("batch", "length", "mlp"))
        bias_name = f"{name}_bias"
        return y_BxTxF + parameters[bias_name][None, None, :] if bias_name in parameters else y_BxTxF

    activation = jax.nn.silu if config.activation == "swiglu" else jax.nn.gelu
    if config.gated:
        hidden_BxTxF = activation(hidden_projection("gate")) * hidden_projection("up")
    else:
        hidden_BxTxF = activation(hidden_projection("up"))
    y_BxTxD = project(hidden_BxTxF, parameters["down"], compute_dtype)
    return y_BxTxD + parameters["down_bias"][None, None, :] if "down_bias" in parameters else y_BxTxD
