"""Temperature, top-k and top-p against a filter by sorting, and their edges: ties, everything kept, one token always kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.generation.filters import likeliest, sampling_logits
from align.generation.sampling_config import SamplingConfig
from scaling.errors import ConfigError
from tests.align.generation.small_policy import reference_filter


def kept(logits, **fields):
    """Ids that a filter leaves of one row."""
    filtered = sampling_logits(jnp.asarray([logits], jnp.float32), SamplingConfig(**fields))
    return np.flatnonzero(np.isfinite(filtered[0])).tolist()


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.6},
        {"top_k": 7},
        {"top_p": 0.8},
        {"temperature": 1.7, "top_k": 20, "top_p": 0.5},
        {"top_k": 1},
        {"top_p": 1e-6},
        {"top_k": 96, "top_p": 0.999},
    ],
    ids=str,
)
def test_filtered_distributions_equal_those_found_by_sorting(fields):
    """Sixty rows of 97 logits of both signs; the kept sets agree exactly, the probabilities to float32."""
    logits = (3 * np.random.default_rng(0).standard_normal((60, 97))).astype(np.float32)
    actual = np.asarray(jax.nn.softmax(sampling_logits(jnp.asarray(logits), SamplingConfig(**fields)), axis=-1))
    expected = np.stack([reference_filter(row, **fields) for row in logits])
    assert ((actual > 0) == (expected > 0)).all()
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-8)


def test_top_k_keeps_exactly_k_of_equal_logits_and_prefers_lower_ids():
    assert kept([0.0, 1.0, 1.0, 1.0, -2.0], top_k=2) == [1, 2]
    assert kept([0.0] * 5, top_k=3) == [0, 1, 2]
    assert kept([-0.0, 0.0, -0.0], top_k=1) == [0], "zeros of both signs are equal"
    assert kept([3.0, 1.0], top_k=9) == [0, 1], "k beyond the vocabulary keeps all"


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    halves = np.log([0.25, 0.5, 0.125, 0.125])
    assert kept(halves, top_p=0.5) == [1], "reaching p exactly is enough"
    assert kept(halves, top_p=0.51) == [0, 1]
    assert kept(halves, top_p=0.8) == [0, 1, 2], "of two equal tokens one is enough, the one with the lower id"
    assert kept(halves, top_p=0.9) == [0, 1, 2, 3]
    assert kept(halves, top_p=1.0) == [0, 1, 2, 3]
    assert kept(halves, top_p=1e-9) == [1], "one token always stays"
    assert kept([0.0] * 8, top_p=0.5) == [0, 1, 2, 3]


def test_top_p_counts_the_mass_of_what_top_k_left():
    """Of (0.4, 0.3, 0.2, 0.1) top-k leaves the first two with masses 4/7 and 3/7: p = 0.5 is reached by one, of the whole distribution it takes two."""
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert kept(logits, top_p=0.5) == [0, 1]
    assert kept(logits, top_p=0.5, top_k=2) == [0]


def test_excluded_tokens_are_never_kept():
    """-inf (an EOS below the shortest length) stays out, even where fewer than k others remain."""
    logits = [-np.inf, 1.0, -np.inf, 0.0]
    for fields in ({"top_k": 3}, {"top_p": 0.9999}, {"temperature": 0.5}):
        assert set(kept(logits, **fields)) <= {1, 3}


def test_extreme_logits_are_ordered():
    assert kept([-3e38, 3e38, 1e-38, -1e-38], top_k=3) == [1, 2, 3]


def test_likeliest_of_a_large_vocabulary():
    """32,000 tokens, more than fit in the bits of a smaller id: the 1,000 likeliest are those of a stable sort."""
    logits = np.round(np.random.default_rng(1).standard_normal((2, 32_000)), 1).astype(np.float32)
    mask = np.asarray(likeliest(jnp.asarray(logits), jnp.ones(logits.shape), jnp.full((2,), 1000.0)))
    for row, found in zip(logits, mask, strict=True):
        expected = np.argsort(-row, kind="stable")[:1000]
        assert sorted(expected) == np.flatnonzero(found).tolist()


@pytest.mark.parametrize(
    "fields,named",
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.01}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, "min_new_tokens"),
        ({"stop_sequences": ((),)}, "stop_sequences"),
        ({"stop_sequences": ((3, -1),)}, "stop_sequences"),
    ],
)
def test_values_that_cannot_be_sampled_are_refused_by_name(fields, named):
    with pytest.raises(ConfigError, match=rf"SamplingConfig\.{named}"):
        SamplingConfig(**fields)


def test_temperature_0_is_no_distribution():
    with pytest.raises(ValueError, match="likeliest"):
        sampling_logits(jnp.zeros((1, 3)), SamplingConfig(temperature=0))
