"""The decoder-only transformer: parameters from their specifications, mathematics from pure functions."""

import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from scaling.mesh import constrain
from scaling.models.attention import Attend, causal_attention, self_attention
from scaling.models.config import TransformerConfig
from scaling.models.feed_forward import feed_forward
from scaling.models.norms import normalise
from scaling.models.parameters import Init, Normal, Ones, ParameterSpec, Zeros, nested, parameter_specs
from scaling.models.positions import rotary_angles, sinusoids
from scaling.models.precision import ComputeDtype, contract
from scaling.models.projections import project

_RESIDUAL_AXES = ("batch", "length", "activation_embed")


class Transformer(nn.Module):
    """A decoder-only transformer as its configuration describes it.

    The parameter tree is the nested form of :func:`scaling.models.parameters.parameter_specs`, the same for every value of the other fields, which change
    how the mathematics is executed and not what is computed.

    Attributes:
      config: the architecture.
      compute_dtype: type of matmul inputs.
      layers: "unroll" or "scan"; see :class:`scaling.run_config.ExecutionConfig`.
      remat: what the backward pass recomputes: "none", "dots" (keeps the outputs of projections, recomputes attention scores and activations) or "full"
        (keeps only each layer's input).
      attention_chunk: queries per block of attention; 0 takes all at once.
    """

    config: TransformerConfig
    compute_dtype: ComputeDtype = "float32"
    layers: Literal["unroll", "scan"] = "unroll"
    remat: Literal["none", "dots", "full"] = "none"
    attention_chunk: int = 0

    @nn.compact
    def __call__(self, tokens_BxT: jax.Array, segment_ids_BxT: jax.Array, positions_BxT: jax.Array) -> jax.Array:
        """Logits of the next token.

        Args:
          tokens_BxT: token ids.
          segment_ids_BxT: the document of every token; attention stays inside a document.
          positions_BxT: positions inside the document.

        Returns:
          [B, T, V], float32.
        """
        specs = nested(parameter_specs(self.config))
        parameters = {name: ParameterGroup(group, name=name)() for name, group in specs.items()}
        return self.logits(parameters, self.hidden_states(parameters, tokens_BxT, segment_ids_BxT, positions_BxT))

    def hidden_states(
        self, parameters: Mapping[str, Any], tokens_BxT: jax.Array, segment_ids_BxT: jax.Array, positions_BxT: jax.Array
    ) -> jax.Array:
        """What the head reads: the residual stream after the last layer (and its norm), [B, T, D], float32.

        A plain function of the parameter tree: heads other than the vocabulary's (rewards, values) read the same states.
        """

        def attend(layer, cache, q_BxTxHxQ, k_BxTxKxQ, v_BxTxKxQ):
            mixed_BxTxHxQ = causal_attention(
                q_BxTxHxQ, k_BxTxKxQ, v_BxTxKxQ, segment_ids_BxT, self.compute_dtype, self.attention_chunk
            )
            return mixed_BxTxHxQ, cache

        return self.hidden_states_by(attend, None, parameters, tokens_BxT, positions_BxT)[0]

    def hidden_states_by(
        self,
        attend: Attend,
        cache: Any,
        parameters: Mapping[str, Any],
        tokens_BxT: jax.Array,
        positions_BxT: jax.Array,
    ) -> tuple[jax.Array, Any]:
        """:meth:`hidden_states` with another way to attend, which may read and change a cache on its way through the layers.

        Args:
          attend: what mixes values; its layer is a traced integer where layers are scanned or rematerialised.
          cache: handed to the first layer's attention; the next layer gets what that returns.
          parameters: the parameter tree; its "layers" stacked, or as :func:`unstacked` returns them.
          tokens_BxT, positions_BxT: as in :meth:`hidden_states`.

        Returns:
          hidden states [B, T, D], and the last layer's cache.
        """
        config = self.config
        x_BxTxD = _embed(parameters["embedding"], config, tokens_BxT, positions_BxT)
        angles = None
        if config.positions == "rope":
            angles = rotary_angles(positions_BxT, config.rotary_dim, config.rope_theta)

        def apply_layer(x_BxTxD: jax.Array, cache: Any, layer_parameters: Mapping[str, Any], layer: Any):
            attention = functools.partial(
                self_attention,
                parameters=layer_parameters["attention"],
                angles=angles,
                compute_dtype=self.compute_dtype,
                attend=functools.partial(attend, layer, cache),
            )
            transform = functools.partial(
                feed_forward,
                parameters=layer_parameters["feed_forward"],
                config=config,
                compute_dtype=self.compute_dtype,
            )
            return _residual_block(x_BxTxD, layer_parameters, config, attention, transform)

        x_BxTxD, cache = _apply_layers(
            _rematerialised(apply_layer, self.remat, scanned=self.layers == "scan"),
            parameters["layers"],
            x_BxTxD,
            cache,
            config.depth,
            self.layers,
        )
        if config.norm_position == "pre":
            x_BxTxD = normalise(x_BxTxD, parameters["final_norm"], config)
        return x_BxTxD, cache

    def logits(self, parameters: Mapping[str, Any], x_BxTxD: jax.Array) -> jax.Array:
        """Logits [B, T, V], float32, of hidden states (:meth:`hidden_states`, or some of their positions)."""
        return _head(x_BxTxD, parameters, self.config, self.compute_dtype)


class ParameterGroup(nn.Module):
    """Declares a tree of parameters and returns their values.

    Attributes:
      specs: name -> specification, or a nested mapping of them.
    """

    specs: Mapping[str, Any]

    @nn.compact
    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, spec in self.specs.items():
            if isinstance(spec, ParameterSpec):
                values[name] = self.param(name, functools.partial(_initial, spec.init), spec.shape)
            else:
                values[name] = ParameterGroup(spec, name=name)()
        return values


def init_parameters(model: Transformer, key: jax.Array) -> dict[str, Any]:
    """The initial parameters as a plain nested dict of float32 arrays.

    Made for `jax.jit(..., out_shardings=parameter_shardings(mesh, config))`: nothing then exists unsharded, and the values do not depend on
    the mesh.

    Args:
      model: the transformer (a static argument or a closed-over value under jit).
      key: a PRNG key; every parameter draws from its own, derived from its path.
    """
    token = jnp.zeros((1, 1), jnp.int32)
    return model.init(key, token, token, token)["params"]


def _initial(init: Init, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    match init:
        case Normal(std):
            return std * jax.random.normal(key, shape, jnp.float32)
        case Zeros():
            return jnp.zeros(shape, jnp.float32)
        case Ones():
            return jnp.ones(shape, jnp.float32)


def _embed(
    parameters: Mapping[str, jax.Array], config: TransformerConfig, tokens_BxT: jax.Array, positions_BxT: jax.Array
) -> jax.Array:
    x_BxTxD = jnp.take(parameters["tokens"], tokens_BxT, axis=0)
    if config.positions == "learned":
        x_BxTxD = x_BxTxD + jnp.take(parameters["positions"], positions_BxT, axis=0)
    elif config.positions == "sinusoidal":
        # Vaswani et al. 2017, section 3.4: the factor keeps the table from drowning in sinusoids of unit amplitude.
        x_BxTxD = x_BxTxD * math.sqrt(config.width) + sinusoids(positions_BxT, config.width)
    return constrain(x_BxTxD, _RESIDUAL_AXES)


def _residual_block(
    x_BxTxD: jax.Array, parameters: Mapping[str, Any], config: TransformerConfig, attention, transform
) -> tuple[jax.Array, Any]:
    """One layer: where norms and sums stand around its two sub-layers. Returns the residual stream and attention's cache."""
    attention_norm, feed_forward_norm = parameters["attention_norm"], parameters["feed_forward_norm"]
    if config.norm_position == "post":
        attended_BxTxD, cache = attention(x_BxTxD)
        x_BxTxD = normalise(x_BxTxD + attended_BxTxD, attention_norm, config)
        return constrain(normalise(x_BxTxD + transform(x_BxTxD), feed_forward_norm, config), _RESIDUAL_AXES), cache
    attended_BxTxD, cache = attention(normalise(x_BxTxD, attention_norm, config))
    if config.residual == "parallel":
        transformed_BxTxD = transform(normalise(x_BxTxD, feed_forward_norm, config))
        return constrain(x_BxTxD + attended_BxTxD + transformed_BxTxD, _RESIDUAL_AXES), cache
    x_BxTxD = constrain(x_BxTxD + attended_BxTxD, _RESIDUAL_AXES)
    return constrain(x_BxTxD + transform(normalise(x_BxTxD, feed_forward_norm, config)), _RESIDUAL_AXES), cache


def _rematerialised(layer, remat: str, scanned: bool):
    if remat == "none":
        return layer
    policies = {"dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "full": None}
    # Inside a scan nothing can be shared between the forward and the backward pass, so the barrier that prevents it is not needed.
    return jax.checkpoint(layer, policy=policies[remat], prevent_cse=not scanned)


def _apply_layers(apply_layer, layers: Any, x_BxTxD: jax.Array, cache: Any, depth: int, form: str):
    """Returns the residual stream after the last layer and its cache."""
    if form == "scan":

        def step(carry, layer):
            return apply_layer(*carry, *layer), None

        return jax.lax.scan(step, (x_BxTxD, cache), (layers, jnp.arange(depth)))[0]
    separate = layers if isinstance(layers, list) else unstacked(layers, depth)
    for layer, parameters in enumerate(separate):
        x_BxTxD, cache = apply_layer(x_BxTxD, cache, parameters, layer)
    return x_BxTxD, cache


def unstacked(stacked: Mapping[str, Any], depth: int) -> list[dict[str, Any]]:
    """Splits stacked parameters into layers by lax.split, whose transpose is one concatenation.

    A program that applies unrolled layers many times splits once, before its loop. Indexing would transpose to a sum of `depth` zero-padded arrays
    of the full size.
    """
    leaves, structure = jax.tree.flatten(stacked)
    split = [[part.reshape(part.shape[1:]) for part in jax.lax.split(leaf, (1,) * depth)] for leaf in leaves]
    return [jax.tree.unflatten(structure, [parts[index] for parts in split]) for index in range(depth)]


def _head(
    x_BxTxD: jax.Array, parameters: Mapping[str, Any], config: TransformerConfig, compute_dtype: ComputeDtype
) -> jax.Array:
    if "head" in parameters:
        logits_BxTxV = project(x_BxTxD, parameters["head"]["kernel"], compute_dtype)
    else:
        batch, length, width = x_BxTxD.shape
        x_NxD = x_BxTxD.reshape(batch * length, width)
        logits_NxV = contract("nd,vd->nv", x_NxD, parameters["embedding"]["tokens"], compute_dtype)
        logits_BxTxV = logits_NxV.reshape(batch, length, config.vocab_size)
    return constrain(logits_BxTxV, ("batch", "length", "vocab"))
