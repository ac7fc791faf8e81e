"""Packing loses nothing: neither examples, nor any part of the loss."""

import jax
import numpy as np
import pytest

from align.data.packing import pack
from scaling.errors import DataError
from scaling.models import ladder
from scaling.models.loss import masked_sums
from scaling.models.transformer import Transformer
from tests.align.data.small_stores import BYTES, random_dialogues, token_examples, write_store
from tests.scaling.models.small_models import QUICK_COMPILE, perturbed


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "dialogue"
    return write_store(path, {"train": token_examples(random_dialogues(60, 20))}).split("train")


def test_every_example_is_in_one_row_and_rows_are_nearly_full(split):
    packed = pack(split, 64)
    assert sorted(index for row in packed.members for index in row) == list(range(60))
    slots = split.prompt_lengths + split.completion_lengths[:, 0] - 1
    assert all(slots[list(row)].sum() <= 64 for row in packed.members)
    assert packed.num_rows <= np.ceil(slots.sum() / 64) + 1 and packed.fill > 0.9


def test_only_completions_count_and_their_eos_does(split):
    """The targets under the mask are exactly the completions, EOS included, in order; prompts and padding are not among them."""
    packed = pack(split, 64)
    batch = packed.gather(np.arange(packed.num_rows))
    for row, members in enumerate(packed.members):
        expected = np.concatenate([split.completion(index) for index in members])
        assert batch.targets[row][batch.loss_mask[row] == 1].tolist() == expected.tolist()
        assert (batch.loss_mask[row][batch.segment_ids[row] == 0] == 0).all()
        assert (batch.positions[row][1:][np.diff(batch.segment_ids[row]) > 0] == 0).all()


def test_the_same_seed_packs_the_same_and_another_seed_otherwise(split):
    assert pack(split, 64).members == pack(split, 64).members != pack(split, 64, seed=1).members


@pytest.mark.slow
def test_packed_loss_is_the_sum_of_the_losses_of_the_examples(split):
    """With the real transformer: segments do not see each other and positions restart, so that packing changes nothing but the cost."""
    config = ladder.llama(width=64, vocab_size=BYTES.size)
    parameters = perturbed(config)

    @jax.jit(compiler_options=QUICK_COMPILE)
    def sums(batch):
        logits = Transformer(config).apply({"params": parameters}, batch.tokens, batch.segment_ids, batch.positions)
        return masked_sums(logits, batch.targets, batch.loss_mask)

    packed = pack(split, 64)
    together = sums(packed.gather(np.arange(packed.num_rows)))
    alone = pack_alone(packed)
    apart = sums(alone.gather(np.arange(alone.num_rows)))
    assert alone.num_rows == 60 > packed.num_rows
    assert float(together.tokens) == float(apart.tokens) == split.completion_lengths.sum()
    np.testing.assert_allclose(together.nats, apart.nats, rtol=1e-5)


def pack_alone(packed):
    """One example a row."""
    return type(packed)(packed.examples, packed.length, tuple((index,) for index in range(len(packed.examples))))


def test_examples_that_do_not_fit_or_are_pairs_are_refused(split, tmp_path):
    with pytest.raises(DataError, match=r"examples need more than 10 slots, the longest \d+ \(example"):
        pack(split, 10)
    pairs = write_store(tmp_path / "pairs", {"train": token_examples([("a", "b", "c")])}).split("train")
    with pytest.raises(DataError, match="2 completions per example.*kind 'dialogue'"):
        pack(pairs, 10)
