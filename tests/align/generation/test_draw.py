"""The two-level inverse transform: right frequencies over several blocks, and no index of weight 0 at the ends of the unit interval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from align.generation.draw import draw


def drawn(weights_V, uniform_Bx2):
    weights_BxV = jnp.broadcast_to(jnp.asarray(weights_V, jnp.float32)[None], (len(uniform_Bx2), len(weights_V)))
    return np.asarray(draw(jnp.asarray(uniform_Bx2, jnp.float32), weights_BxV))


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 64, 200])
def test_frequencies_over_blocks_agree_with_the_weights(count):
    """20,000 draws from weights of very different sizes, a block of them empty where there are several; chi-square."""
    weights = np.random.default_rng(0).gamma(0.5, size=count)
    weights[64:128] = 0
    uniform = np.asarray(jax.random.uniform(jax.random.key(1), (20_000, 2)))
    counts = np.bincount(drawn(weights, uniform), minlength=count)
    expected = 20_000 * weights / weights.sum()
    often = expected >= 5
    groups, observed = (
        np.append(expected[often], expected[~often].sum()),
        np.append(counts[often], counts[~often].sum()),
    )
    filled = groups > 0
    assert counts[weights == 0].sum() == 0
    assert stats.chisquare(observed[filled], groups[filled] * observed.sum() / groups.sum()).pvalue > 1e-3


@pytest.mark.slow
def test_the_ends_of_the_unit_interval_give_the_first_and_the_last_index_that_weigh_something():
    """Also where the largest number below 1 times the sum rounds to the sum, and where zeros stand at both ends."""
    below_one = np.nextafter(np.float32(1), np.float32(0))
    ends = [[0.0, 0.0], [below_one, below_one], [1.0, 1.0]]
    weights = np.zeros(300)
    weights[[70, 71, 200]] = [1e-3, 5.0, 1e-7]
    assert drawn(weights, ends).tolist()[0] == 70
    assert set(drawn(weights, ends).tolist()) <= {70, 71, 200}
    assert drawn([0.0, 1.0, 0.0], ends).tolist() == [1, 1, 1]


@pytest.mark.slow
def test_a_tiny_weight_is_drawn_as_often_as_it_should():
    """Weight 1e-4 in a block of its own: 100 of a million expected, within five standard deviations."""
    weights = np.zeros(128)
    weights[3], weights[100] = 1 - 1e-4, 1e-4
    uniform = np.asarray(jax.random.uniform(jax.random.key(0), (1_000_000, 2)))
    assert abs((drawn(weights, uniform) == 100).sum() - 100) < 50
