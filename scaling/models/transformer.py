"""The decoder-only transformer: parameters from their specifications, mathematics from pure functions."""

import functools
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from scaling.mesh import constrain
from scaling.models.attention import Attend, attention_at, causal_attention, self_attention, taken
from scaling.models.config import TransformerConfig
from scaling.models.feed_forward import feed_forward
from scaling.models.norms import normalise
from scaling.models.parameters import Init, Normal, Ones, ParameterSpec, Zeros, nested, parameter_specs
from scaling.models.positions import rotary_angles, sinusoids
from scaling.models.precision import ComputeDtype, contract
from scaling.models.projections import project

_RESIDUAL_AXES = ("batch", "length", "activation_embed")


class LastLayer(NamedTuple):
    """The columns at which the last layer is wanted.

    Attributes:
      columns_BxR: int32.
      attend: of these queries [B, R, H, Q] over the keys and values of all columns.
    """

    columns_BxR: jax.Array
    attend: Attend


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
        return self.hidden_states_by(self._causal(segment_ids_BxT), None, parameters, tokens_BxT, positions_BxT)[0]

    def hidden_states_at(
        self,
        parameters: Mapping[str, Any],
        tokens_BxT: jax.Array,
        segment_ids_BxT: jax.Array,
        positions_BxT: jax.Array,
        columns_BxR: jax.Array,
    ) -> jax.Array:
        """:meth:`hidden_states` at a few columns of each row, [B, R, D].

        The last layer's keys and values are needed at all columns; its queries, output projection and feed-forward block at these alone, and the backward
        pass shrinks alike.
        """
        segment_ids_BxR = jnp.take_along_axis(segment_ids_BxT, columns_BxR, axis=1)
        earlier_BxRxT = jnp.arange(tokens_BxT.shape[1])[None, None, :] <= columns_BxR[:, :, None]
        visible_BxRxT = earlier_BxRxT & (segment_ids_BxR[:, :, None] == segment_ids_BxT[:, None, :])

        def attend_at(layer, cache, q_BxRxHxQ, k_BxTxKxQ, v_BxTxKxQ):
            return attention_at(q_BxRxHxQ, k_BxTxKxQ, v_BxTxKxQ, visible_BxRxT, self.compute_dtype), cache

        attend, last = self._causal(segment_ids_BxT), LastLayer(columns_BxR, attend_at)
        return self.hidden_states_by(attend, None, parameters, tokens_BxT, positions_BxT, last)[0]

    def hidden_states_by(
        self,
        attend: Attend,
        cache: Any,
        parameters: Mapping[str, Any],
        tokens_BxT: jax.Array,
        positions_BxT: jax.Array,
        last: LastLayer | None = None,
    ) -> tuple[jax.Array, Any]:
        """:meth:`hidden_states` with another way to attend, which may read and change a cache on its way through the layers.

        Args:
          attend: what mixes values; its layer is a traced integer where layers are scanned or rematerialised.
          cache: handed to the first layer's attention; the next layer gets what that returns.
          parameters: the parameter tree; its "layers" stacked, or as :func:`unstacked` returns them.
          tokens_BxT, positions_BxT: as in :meth:`hidden_states`.
          last: where the last layer is wanted; None computes it everywhere (R = T).

        Returns:
          hidden states [B, R, D], and the last layer's cache.
        """
        config = self.config
        x_BxTxD = _embed(parameters["embedding"], config, tokens_BxT, positions_BxT)
        angles = None
        if config.positions == "rope":
            angles = rotary_angles(positions_BxT, config.rotary_dim, config.rope_theta)

        def apply_layer(attend, columns_BxR, x_BxTxD: jax.Array, cache: Any, layer_parameters: Mapping, layer: Any):
            attention = functools.partial(
                self_attention,
                parameters=layer_parameters["attention"],
                angles=angles,
                compute_dtype=self.compute_dtype,
                attend=functools.partial(attend, layer, cache),
                columns_BxR=columns_BxR,
            )
            transform = functools.partial(
                feed_forward,
                parameters=layer_parameters["feed_forward"],
                config=config,
                compute_dtype=self.compute_dtype,
            )
            return _residual_block(x_BxTxD, layer_parameters, config, attention, transform, columns_BxR)

        whole = functools.partial(apply_layer, attend, None)
        whole = _rematerialised(whole, self.remat, scanned=self.layers == "scan")
        if last is None:
            x_BxRxD, cache = _apply_layers(whole, parameters["layers"], x_BxTxD, cache, config.depth, self.layers)
        else:
            before, final = _without_last(parameters["layers"], config.depth, self.layers)
            x_BxTxD, cache = _apply_layers(whole, before, x_BxTxD, cache, config.depth - 1, self.layers)
            narrow = functools.partial(apply_layer, last.attend, last.columns_BxR)
            narrow = _rematerialised(narrow, self.remat, scanned=False)
            x_BxRxD, cache = narrow(x_BxTxD, cache, final, config.depth - 1)
        if config.norm_position == "pre":
            x_BxRxD = normalise(x_BxRxD, parameters["final_norm"], config)
        return x_BxRxD, cache

    def logits(self, parameters: Mapping[str, Any], x_BxTxD: jax.Array) -> jax.Array:
        """Logits [B, T, V], float32, of hidden states (:meth:`hidden_states`, or some of their positions)."""
        return _head(x_BxTxD, parameters, self.config, self.compute_dtype)

    def _causal(self, segment_ids_BxT: jax.Array) -> Attend:
        def attend(layer, cache, q_BxTxHxQ, k_BxTxKxQ, v_BxTxKxQ):
            mixed_BxTxHxQ = causal_attention(
                q_BxTxHxQ, k_BxTxKxQ, v_BxTxKxQ, segment_ids_BxT, self.compute_dtype, self.attention_chunk
            )
            return mixed_BxTxHxQ, cache

        return attend


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
    x_BxTxD: jax.Array,
    parameters: Mapping[str, Any],
    config: TransformerConfig,
    attention,
    transform,
    columns_BxR: jax.Array | None,
) -> tuple[jax.Array, Any]:
    """One layer: where norms and sums stand around its two sub-layers.

    Attention reads every column and answers for those that are wanted; from there on the layer is computed at these alone.

    Returns:
      the residual stream [B, R, D] and attention's cache.
    """
    attention_norm, feed_forward_norm = parameters["attention_norm"], parameters["feed_forward_norm"]
    if config.norm_position == "post":
        attended_BxRxD, cache = attention(x_BxTxD)
        x_BxRxD = normalise(taken(x_BxTxD, columns_BxR) + attended_BxRxD, attention_norm, config)
        return constrain(normalise(x_BxRxD + transform(x_BxRxD), feed_forward_norm, config), _RESIDUAL_AXES), cache
    attended_BxRxD, cache = attention(normalise(x_BxTxD, attention_norm, config))
    x_BxRxD = taken(x_BxTxD, columns_BxR)
    if config.residual == "parallel":
        transformed_BxRxD = transform(normalise(x_BxRxD, feed_forward_norm, config))
        return constrain(x_BxRxD + attended_BxRxD + transformed_BxRxD, _RESIDUAL_AXES), cache
    x_BxRxD = constrain(x_BxRxD + attended_BxRxD, _RESIDUAL_AXES)
    return constrain(x_BxRxD + transform(normalise(x_BxRxD, feed_forward_norm, config)), _RESIDUAL_AXES), cache


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


def _without_last(layers: Any, depth: int, form: str) -> tuple[Any, Any]:
    """All layers but the last, in a form that :func:`_apply_layers` takes, and the last one."""
    if form == "scan":
        pairs = jax.tree.map(lambda leaf: tuple(jax.lax.split(leaf, (depth - 1, 1))), layers)
        before, last = jax.tree.transpose(jax.tree.structure(layers), jax.tree.structure((0, 0)), pairs)
        return before, jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), last)
    separate = layers if isinstance(layers, list) else unstacked(layers, depth)
    return separate[:-1], separate[-1]


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
