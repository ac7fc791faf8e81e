"""Batches are pure functions of (seed, step), cover an epoch, and keep documents apart."""

import jax
import numpy as np
import pytest

from scaling.data import batches, device, prefetch
from scaling.data.config import DataConfig
from scaling.errors import ConfigError, DataError

LENGTH = 16


def assert_batches_equal(first, second):
    for name in batches.Batch._fields:
        left, right = np.asarray(getattr(first, name)), np.asarray(getattr(second, name))
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)


def test_an_epoch_holds_every_window_once_and_the_next_differs():
    epochs = [
        np.concatenate([batches.window_indices(step, 5, 35, seed=3) for step in range(7 * e, 7 * e + 7)])
        for e in (0, 1)
    ]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(35))
    assert not np.array_equal(epochs[0], epochs[1])


def test_the_order_does_not_depend_on_batch_size_even_across_epochs():
    small = np.concatenate([batches.window_indices(step, 4, 30, seed=1) for step in range(18)])
    large = np.concatenate([batches.window_indices(step, 8, 30, seed=1) for step in range(9)])
    np.testing.assert_array_equal(small, large)


def test_seeds_give_different_orders():
    assert not np.array_equal(batches.window_indices(0, 64, 1000, 0), batches.window_indices(0, 64, 1000, 1))


def test_hosts_share_a_step_without_overlap():
    windows = batches.window_indices(2, 8, 100, 0)
    shares = [batches.host_share(windows, index, 4) for index in range(4)]
    np.testing.assert_array_equal(np.concatenate(shares), windows)
    with pytest.raises(ValueError, match="does not divide among 3 hosts"):
        batches.host_share(windows, 0, 3)


def test_segments_positions_and_mask_by_hand(make_store):
    """Two documents 'ab' and 'c' make tokens a b E c E; the window of four inputs sees a boundary after the first E."""
    store = make_store({"train": ["ab", "c"]})
    split = store.split("train")
    rows = np.array([[100, 101, 1, 102, 1]], np.int32)
    batch = batches.from_rows(rows, split.eos_id, isolate_documents=True)
    assert batch.tokens.tolist() == [[100, 101, 1, 102]]
    assert batch.targets.tolist() == [[101, 1, 102, 1]]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 2]]
    assert batch.positions.tolist() == [[0, 1, 2, 0]]
    assert batch.loss_mask.tolist() == [[1, 1, 0, 1]]
    joined = batches.from_rows(rows, split.eos_id, isolate_documents=False)
    assert joined.segment_ids.tolist() == [[1, 1, 1, 1]]
    assert joined.positions.tolist() == [[0, 1, 2, 3]]
    assert joined.loss_mask.tolist() == [[1, 1, 1, 1]]


def test_segments_agree_with_the_document_offsets_of_the_store(small_store):
    """The batch finds boundaries by EOS; the store's own offsets must give the same ones."""
    split = small_store.split("train")
    windows = np.arange(split.num_windows(LENGTH))
    batch = batches.gather(split, windows, LENGTH)
    places = windows[:, None] * LENGTH + np.arange(LENGTH)
    documents = np.searchsorted(split.document_starts, places, side="right") - 1
    np.testing.assert_array_equal(batch.segment_ids, documents - documents[:, :1] + 1)
    into_document = places - split.document_starts[documents]
    np.testing.assert_array_equal(batch.positions, np.minimum(into_document, np.arange(LENGTH)))


@pytest.mark.parametrize("isolate", [True, False])
def test_numpy_device_and_grain_paths_are_equal(small_store, isolate):
    split = small_store.split("train")
    num_windows, batch_size = split.num_windows(LENGTH), 6
    on_device = jax.jit(device.gather, static_argnums=(2, 3))
    tables = device.device_tables(split)
    assert tables.tokens.dtype == np.uint16
    read = prefetch.prefetched_batches(
        split, length=LENGTH, batch_size=batch_size, seed=5, start_step=3, num_steps=60, isolate_documents=isolate
    )
    for step, ahead in zip(range(3, 60), read, strict=True):
        windows = batches.window_indices(step, batch_size, num_windows, 5)
        expected = batches.gather(split, windows, LENGTH, isolate)
        assert_batches_equal(expected, ahead)
        if step < 10:
            assert_batches_equal(expected, on_device(tables, windows.astype(np.int32), LENGTH, isolate))


def test_grain_gives_each_host_its_share(small_store):
    split = small_store.split("train")
    arguments = dict(length=LENGTH, batch_size=6, seed=0, num_steps=4)
    whole = list(prefetch.prefetched_batches(split, **arguments))
    halves = [list(prefetch.prefetched_batches(split, **arguments, process_index=i, process_count=2)) for i in (0, 1)]
    for batch, first, second in zip(whole, *halves, strict=True):
        np.testing.assert_array_equal(batch.tokens, np.concatenate([first.tokens, second.tokens]))


def test_device_gather_needs_no_implicit_transfer(small_store):
    """Under the transfer guard of the training loop only explicit copies are allowed."""
    split = small_store.split("train")
    step = jax.jit(lambda tables, windows: device.gather(tables, windows, LENGTH))
    with jax.transfer_guard("disallow"):
        tables = device.device_tables(split)
        batch = step(tables, jax.device_put(np.array([0, 2], np.int32)))
    assert_batches_equal(batches.gather(split, np.array([0, 2]), LENGTH), batch)


def test_evaluation_reads_every_token_once_and_names_its_document(small_store):
    split = small_store.split("validation")
    plan = batches.evaluation_plan(split, LENGTH, batch_size=4)
    targets, documents, counted = [], [], 0
    read = list(batches.evaluation_batches(split, plan))
    assert len(read) == plan.num_batches
    for batch, owners in read:
        assert batch.tokens.shape == (4, LENGTH)
        real = batch.segment_ids > 0
        targets.append(batch.targets[real])
        documents.append(owners[real])
        counted += int(batch.loss_mask.sum())
        assert (owners[~real] == -1).all() and (batch.loss_mask[~real] == 0).all()
    np.testing.assert_array_equal(np.concatenate(targets), split.tokens[1:])
    np.testing.assert_array_equal(
        np.concatenate(documents), np.repeat(np.arange(split.num_documents), np.diff(split.document_starts))[1:]
    )
    # Every token counts but the first of each document, which has nothing before it.
    assert counted == split.num_tokens - split.num_documents


def test_evaluation_of_a_part_is_spread_over_the_split(small_store):
    """A third of the tokens, none twice, from the first window to the last third: a part from the start would miss most documents."""
    split = small_store.split("validation")
    whole = batches.evaluation_plan(split, LENGTH, batch_size=4)
    plan = batches.evaluation_plan(split, LENGTH, batch_size=4, max_tokens=split.num_tokens // 3)
    windows = np.concatenate([plan.windows(number) for number in range(plan.num_batches)])[: plan.num_windows]
    assert plan.num_windows == split.num_tokens // 3 // LENGTH and len(set(windows)) == plan.num_windows
    assert windows[0] == 0 and (np.diff(windows) >= 3).all() and windows[-1] >= whole.num_windows - 4
    real = sum(int((batch.segment_ids > 0).sum()) for batch, _ in batches.evaluation_batches(split, plan))
    assert real == plan.num_windows * LENGTH


def test_a_split_shorter_than_a_window_is_refused(small_store):
    with pytest.raises(DataError, match="too few for one sequence of 100000"):
        small_store.split("train").num_windows(100_000)


def test_placement_is_chosen_by_size(small_store, monkeypatch):
    split = small_store.split("train")
    config = DataConfig(store="", sequence_length=LENGTH)
    assert device.resolve_placement(config, split) == "device"
    monkeypatch.setattr(device, "AUTO_DEVICE_BYTES", split.tokens.nbytes - 1)
    assert device.resolve_placement(config, split) == "host"
    monkeypatch.setattr(device, "_INT32_LIMIT", 10)
    with pytest.raises(ConfigError, match=r"set placement to 'host'"):
        device.resolve_placement(DataConfig(store="", sequence_length=LENGTH, placement="device"), split)
