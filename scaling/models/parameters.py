"""Every parameter of a transformer, declared once: shape, logical axes, initial distribution, weight decay, accounting part.

The model creates its parameters from these specifications, the mesh shards by their axes, the optimiser decays by their flag, the
accounting sums their sizes and the golden tables print them. Nothing here imports JAX.

Layer parameters are always stacked along a leading "layers" axis, so that the unrolled and the scanned form share one checkpoint.

Initial scales (biases are 0, norm scales are 1):

=======  ============================  ==============================  ==========================  ===================
name     projections                   into the residual stream        token table                 learned positions
=======  ============================  ==============================  ==========================  ===================
gpt2     0.02                          0.02 / sqrt(2 depth)            0.02                        0.01
llama    1 / sqrt(fan_in)              1 / sqrt(fan_in 2 depth)        1 / sqrt(width)             1 / sqrt(width)
neox     sqrt(2 / (5 width))           2 / (depth sqrt(width))         sqrt(2 / (5 width))         sqrt(2 / (5 width))
=======  ============================  ==============================  ==========================  ===================

* gpt2: Radford et al. 2019, section 2.3 (residual weights scaled by 1 / sqrt(N), N the number of residual layers, two a block); 0.02 and 0.01
  are those of the released code.
* llama: Touvron et al. 2023 state no scale. Fan-in scaling (LeCun et al. 1998) keeps activations of one size at every width of a ladder, which a constant
  0.02 does not (they agree at width 2500); the residual factor is GPT-2's.
* neox: Black et al. 2022, section 2.1: "small init" of Nguyen and Salazar 2019 and the output scale of Wang and Komatsuzaki 2021 (GPT-J).

**The head** has one more rule, the same for all three. The final norm has unit mean square, so logits at step 0 have the standard deviation
s = std sqrt(width) and the loss is ln V + s^2 / 2 in expectation. A constant 0.02 passes 2% of ln V at width 693 (vocabulary 1024) and grows with the
width without bound, so the head, or the tied table, has std = min(the scale above, sqrt(2 HEAD_EXCESS ln V / width)): the expected excess is at
most 1% at every width.

Weight decay applies to kernels of matrix products, the tied table among them. It does not apply to biases and norm scales (GPT-3 and GPT-NeoX
practice) nor to look-up tables: a row's gradient is zero while its token is absent, yet decoupled decay would shrink it at every step, and a smaller
residual stream enlarges the gradients that pass through the first norms (OLMo 2, arXiv:2501.00656, which leaves embeddings undecayed for that reason).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from scaling.models.config import TransformerConfig

# The parts that accounting sums; every parameter belongs to exactly one.
PARTS = ("token_embedding", "position_embedding", "attention", "feed_forward", "norms", "head")

# The largest relative excess of the expected loss at step 0 over ln V that the head's scale may cause.
HEAD_EXCESS = 0.01

LeafT = TypeVar("LeafT")


@dataclasses.dataclass(frozen=True)
class Normal:
    """Independent Gaussians of mean 0."""

    std: float


@dataclasses.dataclass(frozen=True)
class Zeros:
    """All 0."""


@dataclasses.dataclass(frozen=True)
class Ones:
    """All 1."""


Init: TypeAlias = Normal | Zeros | Ones


@dataclasses.dataclass(frozen=True)
class ParameterSpec:
    """One parameter tensor.

    Attributes:
      shape: sizes, the "layers" axis first where there is one.
      axes: the logical name of each axis (:data:`scaling.mesh.RULES` maps them to the mesh).
      init: the initial distribution.
      decay: whether decoupled weight decay applies.
      part: one of :data:`PARTS`.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    init: Init
    decay: bool
    part: str

    def __post_init__(self):
        if len(self.shape) != len(self.axes) or self.part not in PARTS:
            raise ValueError(f"inconsistent parameter specification {self}")

    @property
    def size(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class _Scales:
    """Standard deviations of one initialisation, by the role of a parameter."""

    width_in: float  # kernels that read the residual stream
    attention_out: float  # the two kernels that write to it
    feed_forward_out: float
    tokens: float
    positions: float
    head: float


def parameter_specs(config: TransformerConfig) -> dict[str, ParameterSpec]:
    """The parameters of a transformer, by their "/" separated path in the tree.

    Args:
      config: the architecture.

    Returns:
      path -> specification, in the order of the forward pass.
    """
    scales = _scales(config)
    vocab, width = config.vocab_size, config.width
    specs = {
        "embedding/tokens": ParameterSpec(
            (vocab, width), ("vocab", "embed"), Normal(scales.tokens), decay=config.tied, part="token_embedding"
        )
    }
    if config.positions == "learned":
        specs["embedding/positions"] = ParameterSpec(
            (config.max_length, width),
            ("length", "embed"),
            Normal(scales.positions),
            decay=False,
            part="position_embedding",
        )
    specs |= _norm(config, "layers/attention_norm", stacked=True)
    specs |= _attention(config, scales)
    specs |= _norm(config, "layers/feed_forward_norm", stacked=True)
    specs |= _feed_forward(config, scales)
    if config.norm_position == "pre":
        specs |= _norm(config, "final_norm", stacked=False)
    if not config.tied:
        specs["head/kernel"] = ParameterSpec(
            (width, vocab), ("embed", "vocab"), Normal(scales.head), decay=True, part="head"
        )
    return specs


def tree(config: TransformerConfig, leaf: Callable[[ParameterSpec], LeafT]) -> dict[str, Any]:
    """`leaf` of every specification, in the form of the parameter tree."""
    return nested({path: leaf(spec) for path, spec in parameter_specs(config).items()})


def nested(flat: Mapping[str, LeafT]) -> dict[str, Any]:
    """Turns {"a/b": x} into {"a": {"b": x}}, the form of the parameter tree."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *groups, name = path.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = leaf
    return tree


def _scales(config: TransformerConfig) -> _Scales:
    width, depth = config.width, config.depth
    match config.initialisation:
        case "gpt2":
            out = 0.02 / math.sqrt(2 * depth)
            scales = _Scales(0.02, out, out, tokens=0.02, positions=0.01, head=0.02)
        case "llama":
            small = 1 / math.sqrt(width)
            attention_out = 1 / math.sqrt(config.heads * config.head_dim * 2 * depth)
            feed_forward_out = 1 / math.sqrt(config.mlp_dim * 2 * depth)
            scales = _Scales(small, attention_out, feed_forward_out, tokens=small, positions=small, head=small)
        case "neox":
            small = math.sqrt(2 / (5 * width))
            out = 2 / (depth * math.sqrt(width))
            scales = _Scales(small, out, out, tokens=small, positions=small, head=small)
        case unknown:
            raise ValueError(f"unknown initialisation {unknown!r}")
    head = min(scales.head, math.sqrt(2 * HEAD_EXCESS * math.log(config.vocab_size) / width))
    return dataclasses.replace(scales, head=head, tokens=head if config.tied else scales.tokens)


def _attention(config: TransformerConfig, scales: _Scales) -> dict[str, ParameterSpec]:
    width, head_dim = config.width, config.head_dim
    outputs = {
        "query": ("heads", config.heads),
        "key": ("kv_heads", config.kv_heads),
        "value": ("kv_heads", config.kv_heads),
    }
    specs = {}
    for name, (axis, heads) in outputs.items():
        specs[name] = _layer_kernel(
            config, (width, heads, head_dim), ("embed", axis, "head_dim"), scales.width_in, "attention"
        )
        if config.biases:
            specs[f"{name}_bias"] = _layer_bias(config, (heads, head_dim), (axis, "head_dim"), "attention")
    specs["output"] = _layer_kernel(
        config, (config.heads, head_dim, width), ("heads", "head_dim", "embed"), scales.attention_out, "attention"
    )
    if config.biases:
        specs["output_bias"] = _layer_bias(config, (width,), ("embed",), "attention")
    return {f"layers/attention/{name}": spec for name, spec in specs.items()}


def _feed_forward(config: TransformerConfig, scales: _Scales) -> dict[str, ParameterSpec]:
    width, hidden = config.width, config.mlp_dim
    specs = {}
    for name in ("gate", "up") if config.gated else ("up",):
        specs[name] = _layer_kernel(config, (width, hidden), ("embed", "mlp"), scales.width_in, "feed_forward")
        if config.biases:
            specs[f"{name}_bias"] = _layer_bias(config, (hidden,), ("mlp",), "feed_forward")
    specs["down"] = _layer_kernel(config, (hidden, width), ("mlp", "embed"), scales.feed_forward_out, "feed_forward")
    if config.biases:
        specs["down_bias"] = _layer_bias(config, (width,), ("embed",), "feed_forward")
    return {f"layers/feed_forward/{name}": spec for name, spec in specs.items()}


def _norm(config: TransformerConfig, path: str, stacked: bool) -> dict[str, ParameterSpec]:
    shape, axes = (config.width,), ("embed",)
    if stacked:
        shape, axes = (config.depth, *shape), ("layers", *axes)
    specs = {f"{path}/scale": ParameterSpec(shape, axes, Ones(), decay=False, part="norms")}
    if config.norm == "layernorm" and config.biases:
        specs[f"{path}/bias"] = ParameterSpec(shape, axes, Zeros(), decay=False, part="norms")
    return specs


def _layer_kernel(
    config: TransformerConfig, shape: tuple[int, ...], axes: tuple[str, ...], std: float, part: str
) -> ParameterSpec:
    return ParameterSpec((config.depth, *shape), ("layers", *axes), Normal(std), decay=True, part=part)


def _layer_bias(config: TransformerConfig, shape: tuple[int, ...], axes: tuple[str, ...], part: str) -> ParameterSpec:
    return ParameterSpec((config.depth, *shape), ("layers", *axes), Zeros(), decay=False, part=part)
