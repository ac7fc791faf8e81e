"""A batch of samples is drawn once: whoever was killed reads from disk what was complete."""

import numpy as np
import pytest

from align.training.sample_cache import SampleCache


def test_batches_on_disk_are_not_drawn_again(tmp_path):
    drawn = []

    def draw(number):
        drawn.append(number)
        return {"tokens": np.full((2, 3), number, np.int32), "ended": np.array([True, False])}

    first = SampleCache(tmp_path / "samples", 3, "test")
    for number in range(2):
        first.get(number, lambda number=number: draw(number))
    second = SampleCache(tmp_path / "samples", 3, "test")
    found = [second.get(number, lambda number=number: draw(number)) for number in range(3)]
    assert drawn == [0, 1, 2]
    for number, batch in enumerate(found):
        np.testing.assert_array_equal(batch["tokens"], number)
        assert batch["tokens"].dtype == np.int32 and batch["ended"].dtype == bool


def test_a_batch_that_failed_leaves_nothing_that_looks_complete(tmp_path):
    cache = SampleCache(tmp_path / "samples", 1, "test")

    def fail():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        cache.get(0, fail)
    assert not list((tmp_path / "samples").glob("*.npz"))
    assert cache.get(0, lambda: {"x": np.zeros(1)})["x"].shape == (1,)
