"""The model computes what the papers' equations say, in numpy and float64."""

import dataclasses

import jax
import numpy as np
import pytest

from scaling.models import ladder
from scaling.models.transformer import Transformer
from tests.scaling.models import reference
from tests.scaling.models.small_models import logits_of, perturbed, random_tokens, whole_rows

CONFIGS = {
    "llama": ladder.llama(32, 61),
    "llama with grouped queries, tied": dataclasses.replace(ladder.llama(64, 61, kv_heads=2, tied=True), depth=2),
    "kaplan_gpt": ladder.kaplan_gpt(32, 61, max_length=24),
    "neox": ladder.neox(32, 61),
    "the transformer of 2017: post-norm, sinusoids": dataclasses.replace(
        ladder.kaplan_gpt(32, 61), norm_position="post", positions="sinusoidal"
    ),
    "llama with GeGLU": dataclasses.replace(ladder.llama(32, 61), activation="geglu"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_the_equations(name):
    config = CONFIGS[name]
    parameters = perturbed(config)
    tokens = random_tokens(config, 2, 20)
    ours = logits_of(Transformer(config, attention_chunk=8))(parameters, tokens, *whole_rows(tokens))
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
    theirs = np.stack([reference.logits(exact, config, row) for row in tokens])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
