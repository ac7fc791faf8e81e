"""The keyed permutation is one."""

import numpy as np
import pytest

from scaling.data.permutation import KeyedPermutation


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 1000, 4096, 65_537])
def test_every_index_is_hit_exactly_once(size):
    np.testing.assert_array_equal(np.sort(KeyedPermutation(size, 7)(np.arange(size))), np.arange(size))


def test_keys_give_unrelated_orders():
    size = 10_000
    first, second = (KeyedPermutation(size, key)(np.arange(size)) for key in ("0/0", "0/1"))
    assert np.sum(first == second) < 10  # A random pair agrees in one place on average.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.05


def test_order_is_fixed_for_ever():
    """A changed permutation would silently change every resumed run."""
    assert KeyedPermutation(10, "key")(np.arange(10)).tolist() == FROZEN_ORDER


def test_an_index_outside_is_refused():
    with pytest.raises(IndexError, match=r"range\(5\)"):
        KeyedPermutation(5, 0)(np.array([5]))


FROZEN_ORDER = [2, 6, 7, 0, 5, 8, 9, 4, 1, 3]
