"""Training FLOPs per token under every published convention (no JAX here).

For one small model the conventions in use span a factor 1.5, so a law is only comparable with another when both name theirs. All of them are
recorded with every run.

A multiply-add counts 2. Training is forward plus backward, and the backward pass costs twice the forward pass (Kaplan et al. 2020, section 2.1), hence
the factors 6 and 3.
"""

from collections.abc import Callable

from scaling.accounting.parameters import count_parameters
from scaling.models.config import TransformerConfig

# The convention of model FLOPs utilisation, by its key below, and how it is written in records.
MFU_CONVENTION = "6nd_head_attention"
MFU_CONVENTION_TEXT = "6 N_matmul + 12 L H Q T, PaLM appendix B"


def kaplan_6nd_non_embedding(config: TransformerConfig, sequence_length: int) -> float:
    """6 N, N without embeddings and head (Kaplan et al. 2020, section 2.1); independent of the sequence length."""
    del sequence_length
    return 6.0 * count_parameters(config).non_embedding


def six_nd(config: TransformerConfig, sequence_length: int) -> float:
    """6 N, N all parameters (Hoffmann et al. 2022, appendix F, "C = 6ND")."""
    del sequence_length
    return 6.0 * count_parameters(config).total


def six_nd_head(config: TransformerConfig, sequence_length: int) -> float:
    """6 (N + V d), N without embeddings: the head's product counts, tied or not; look-ups do not (Porian et al. 2024, section 3.2)."""
    return kaplan_6nd_non_embedding(config, sequence_length) + 6.0 * config.vocab_size * config.width


def six_nd_head_attention(config: TransformerConfig, sequence_length: int) -> float:
    """6 (N + V d) + 12 L H Q T: scores and weighted values over the whole T x T square (PaLM, Chowdhery et al. 2022, appendix B)."""
    return six_nd_head(config, sequence_length) + 2 * _causal_attention(config, sequence_length)


def six_nd_head_causal_attention(config: TransformerConfig, sequence_length: int) -> float:
    """6 (N + V d) + 6 L H Q T: only the half of the square that a causal mask leaves (Kaplan et al. 2020, table 1: 2 L T d forward)."""
    return six_nd_head(config, sequence_length) + _causal_attention(config, sequence_length)


def chinchilla_appendix_f(config: TransformerConfig, sequence_length: int) -> float:
    """The per-layer count of Hoffmann et al. 2022, appendix F, per token.

    Per sequence of s tokens and forward pass: embeddings 2 s V d; in each layer query, key and value 2 * 3 s d (key size * heads), scores
    2 s^2 (key size * heads), softmax 3 heads s^2, weighted values 2 s^2 (key size * heads), output 2 s (key size * heads) d, dense block 2 s (2 d ff); logits
    2 s d V. Times 3. The embedding really is a look-up; the paper counts it as a product and so do we. Two generalisations, equal to the paper's terms for
    its own architecture: key and value projections have kv_heads, and a gated block has 3 matrices.
    """
    s, d = sequence_length, config.width
    attention_width = config.heads * config.head_dim
    matrices = 3 if config.gated else 2
    layer = (
        2 * s * d * (config.heads + 2 * config.kv_heads) * config.head_dim
        + 2 * s * s * attention_width
        + 3 * config.heads * s * s
        + 2 * s * s * attention_width
        + 2 * s * attention_width * d
        + 2 * s * matrices * d * config.mlp_dim
    )
    embeddings_and_logits = 2 * s * config.vocab_size * d + 2 * s * d * config.vocab_size
    return 3.0 * (embeddings_and_logits + config.depth * layer) / s


CONVENTIONS: dict[str, Callable[[TransformerConfig, int], float]] = {
    "kaplan_6nd_non_embedding": kaplan_6nd_non_embedding,
    "6nd": six_nd,
    "6nd_head": six_nd_head,
    "6nd_head_attention": six_nd_head_attention,
    "6nd_head_causal_attention": six_nd_head_causal_attention,
    "chinchilla_appendix_f": chinchilla_appendix_f,
}


def training_flops_per_token(config: TransformerConfig, sequence_length: int) -> dict[str, float]:
    """FLOPs of training on one token, by convention.

    Args:
      config: the architecture.
      sequence_length: T, tokens per sequence.
    """
    return {name: count(config, sequence_length) for name, count in CONVENTIONS.items()}


def model_flops_utilisation(
    config: TransformerConfig, sequence_length: int, tokens_per_second: float, peak_flops: float
) -> float:
    """MFU (PaLM, appendix B): model FLOPs by :data:`MFU_CONVENTION` per second over the peak, recomputation not counted.

    Args:
      config: the architecture.
      sequence_length: T.
      tokens_per_second: throughput over all devices.
      peak_flops: FLOP/s of all devices together, in the compute dtype.
    """
    return CONVENTIONS[MFU_CONVENTION](config, sequence_length) * tokens_per_second / peak_flops


def _causal_attention(config: TransformerConfig, sequence_length: int) -> float:
    """6 L H Q T: on average T / 2 keys a query, 2 products of 2 H Q FLOPs a key, times 3."""
    return 6.0 * config.depth * config.heads * config.head_dim * sequence_length
