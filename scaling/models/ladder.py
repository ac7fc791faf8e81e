"""Families of transformers in which the width decides everything else.

The rule, the same for every family:

* depth = round(sqrt(width) / 2), at least 2. The aspect ratio width / depth then grows as 2 sqrt(width): 8 at width 16, 64 at
  1024, 128 at 4096, which is LLaMA-7B's 4096 x 32, and stays inside the flat optimum of Kaplan et al. 2020, figure 5.
* head_dim = 16 below width 128 (8 where 16 does not divide the width), 32 below 512, 64 below 4096, 128 from there; heads = width / head_dim.
* the feed-forward block holds 8 width^2 weights: 4 width for GELU, 8/3 width rounded up to a multiple of 16 for gated ones (Shazeer 2020).

So a layer has 12 width^2 weights and a model about 12 width^2 depth outside its embeddings: 6 thousand at width 16, 6.4 billion at 4096 and
11.3 billion at 5120.
"""

import math

from scaling.errors import ConfigError
from scaling.models.config import Activation, TransformerConfig


def depth_of(width: int) -> int:
    """Layers of a model of this width."""
    return max(2, round(math.sqrt(width) / 2))


def head_dim_of(width: int) -> int:
    """Features of a head in a model of this width."""
    if width < 128:
        return 16 if width % 16 == 0 else 8
    for below, head_dim in ((512, 32), (4096, 64)):
        if width < below:
            return head_dim
    return 128


def mlp_dim_of(width: int, activation: Activation) -> int:
    """Hidden features such that the block has (about) 8 width^2 weights."""
    if activation == "gelu":
        return 4 * width
    return 16 * math.ceil(8 * width / 3 / 16)


def llama(
    width: int,
    vocab_size: int,
    max_length: int = 2048,
    kv_heads: int | None = None,
    tied: bool = False,
    z_loss: float = 0.0,
) -> TransformerConfig:
    """LLaMA-like (Touvron et al. 2023): RMSNorm before, SwiGLU, rotary positions, no biases, untied head."""
    return TransformerConfig(
        family="llama",
        norm="rmsnorm",
        activation="swiglu",
        positions="rope",
        residual="serial",
        biases=False,
        initialisation="llama",
        tied=tied,
        z_loss=z_loss,
        **_shape(width, vocab_size, max_length, "swiglu", kv_heads),
    )


def kaplan_gpt(
    width: int, vocab_size: int, max_length: int = 1024, tied: bool = True, z_loss: float = 0.0
) -> TransformerConfig:
    """GPT-2-like, as Kaplan et al. 2020 trained: LayerNorm before, GELU, learned positions, biases, tied head."""
    return TransformerConfig(
        family="kaplan_gpt",
        norm="layernorm",
        activation="gelu",
        positions="learned",
        residual="serial",
        biases=True,
        initialisation="gpt2",
        tied=tied,
        z_loss=z_loss,
        **_shape(width, vocab_size, max_length, "gelu", None),
    )


def neox(
    width: int, vocab_size: int, max_length: int = 2048, tied: bool = False, z_loss: float = 0.0
) -> TransformerConfig:
    """GPT-NeoX-like (Black et al. 2022): LayerNorm, GELU, rotary on a quarter of each head, parallel residual, biases."""
    return TransformerConfig(
        family="neox",
        norm="layernorm",
        activation="gelu",
        positions="rope",
        rope_fraction=0.25,
        residual="parallel",
        biases=True,
        initialisation="neox",
        tied=tied,
        z_loss=z_loss,
        **_shape(width, vocab_size, max_length, "gelu", None),
    )


def _shape(
    width: int, vocab_size: int, max_length: int, activation: Activation, kv_heads: int | None
) -> dict[str, int]:
    head_dim = head_dim_of(width)
    if width % head_dim:
        raise ConfigError(
            f"the ladder's width {width} is not a multiple of its head_dim {head_dim}", f"use a multiple of {head_dim}"
        )
    heads = width // head_dim
    return dict(
        vocab_size=vocab_size,
        width=width,
        depth=depth_of(width),
        heads=heads,
        kv_heads=kv_heads or heads,
        head_dim=head_dim,
        mlp_dim=mlp_dim_of(width, activation),
        max_length=max_length,
    )
