"""A small policy with uneven logits, its prompts, and a full forward pass to hold generation against."""

import dataclasses
import functools

import jax
import numpy as np

from align.generation.sampler import generate, row_keys
from align.sequences import Sequences, positions, segment_ids
from scaling.models import ladder
from scaling.models.transformer import Transformer
from tests.scaling.models.small_models import QUICK_COMPILE, perturbed, random_tokens

CONFIG = dataclasses.replace(ladder.llama(32, 61, max_length=64, kv_heads=1), depth=2)
MODEL = Transformer(CONFIG)
PROMPT_LENGTHS = np.asarray([7, 1, 4, 8], np.int32)
EOS = 2


def parameters():
    return perturbed(CONFIG)


def prompts(seed=0):
    """Prompts [4, 8]; what stands behind their lengths are tokens like any other."""
    return random_tokens(CONFIG, len(PROMPT_LENGTHS), int(PROMPT_LENGTHS.max()), seed)


# The program as it is, compiled faster and run a little slower.
quick_generate = jax.jit(generate, static_argnums=(0, 5, 6), compiler_options=QUICK_COMPILE)


def keys(seed=0, rows=4):
    return row_keys(seed, np.arange(rows), np.zeros(rows))


def sampled(config, eos_id=EOS, seed=0, model=MODEL):
    """A generation as NumPy arrays."""
    return jax.device_get(quick_generate(model, parameters(), prompts(), PROMPT_LENGTHS, keys(seed), config, eos_id))


@functools.lru_cache
def _full(model):
    def logits(parameters, sequences: Sequences):
        states = model.hidden_states(parameters, sequences.tokens, segment_ids(sequences), positions(sequences))
        return model.logits(parameters, states)

    return jax.jit(logits, compiler_options=QUICK_COMPILE)


def full_logits(sequences, model=MODEL):
    """float64 [B, T, V]: at index t those that predict the token at t (index 0 holds nothing)."""
    logits = np.asarray(_full(model)(parameters(), sequences), np.float64)
    return np.concatenate([np.full_like(logits[:, :1], np.nan), logits[:, :-1]], axis=1)


def completions(generation):
    """The token lists of the completions."""
    tokens, starts, ends = generation.sequences
    return [row[start:end].tolist() for row, start, end in zip(tokens, starts, ends, strict=True)]


def reference_filter(logits_V, temperature=1.0, top_k=0, top_p=1.0):
    """Probabilities of one position, by sorting, in float64: an independent derivation of temperature, top-k and top-p."""
    logits_V = np.asarray(logits_V, np.float64) / temperature
    order = np.lexsort((np.arange(len(logits_V)), -logits_V))
    if top_k:
        order = order[:top_k]
    weights = np.exp(logits_V[order] - logits_V[order[0]])
    mass_before = np.cumsum(weights) - weights
    order = order[mass_before < top_p * weights.sum()] if top_p < 1 else order
    probabilities = np.zeros(len(logits_V))
    probabilities[order] = np.exp(logits_V[order] - logits_V[order[0]])
    return probabilities / probabilities.sum()
