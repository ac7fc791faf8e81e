"""A batch of examples is a function of (seed, step)."""

import numpy as np

from align.data.batches import covering, rows


def test_every_example_is_read_once_an_epoch_in_an_order_of_its_own():
    """Batches that do not divide the data skip nothing at the end of an epoch, and epochs are shuffled anew."""
    read = np.concatenate([rows(seed=3, step=step, batch_size=4, num_examples=10) for step in range(5)])
    first, second = read[:10], read[10:]
    assert sorted(first) == sorted(second) == list(range(10)) and first.tolist() != second.tolist()


def test_a_step_is_computed_without_those_before_it_and_depends_on_the_seed():
    assert rows(0, 7, 8, 100).tolist() == rows(0, 7, 8, 100).tolist() != rows(1, 7, 8, 100).tolist()


def test_covering_weighs_every_example_once():
    """The last batch is full, and what it repeats has no weight."""
    counted = np.zeros(10)
    for indices, weights in covering(10, 4):
        assert indices.shape == weights.shape == (4,)
        np.add.at(counted, indices, weights)
    assert counted.tolist() == [1] * 10
