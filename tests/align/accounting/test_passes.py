"""FLOPs of passes against counts made by hand, product by product."""

import dataclasses

import pytest

from align.accounting.passes import Pass, answers, at_last_tokens, sampled, total, whole_rows
from scaling.accounting.flops import CONVENTIONS, MFU_CONVENTION, training_flops_per_token
from scaling.models import ladder

LLAMA = dataclasses.replace(ladder.llama(64, 300, 128, kv_heads=1), depth=3)
# Only products of matrices count by hand; the conventions' N has the norms' scales too.
NORMS = 2 * (2 * LLAMA.depth + 1) * LLAMA.width


def by_hand(columns, head_columns, last_columns, cells, last_cells):
    """Two FLOPs a multiply-add, forward, layer by layer, full squares of attention."""
    model, features = LLAMA, LLAMA.heads * LLAMA.head_dim
    count = columns * NORMS
    for layer in range(model.depth):
        is_last = layer == model.depth - 1
        answering, pairs = (last_columns, last_cells) if is_last else (columns, cells)
        count += 2 * columns * model.width * 2 * model.kv_heads * model.head_dim
        count += 2 * answering * model.width * (2 * features + 3 * model.mlp_dim)
        count += 2 * 2 * pairs * features
    return count + 2 * head_columns * model.width * model.vocab_size


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_whole_rows_are_what_the_convention_says(convention):
    """Forward and backward over rows of T tokens: T times the figure a token of every convention."""
    counted = whole_rows(LLAMA, 5, 48).with_gradient().flops()[convention]
    assert counted == pytest.approx(5 * 48 * training_flops_per_token(LLAMA, 48)[convention], rel=1e-12)


def test_the_pass_of_dpo():
    """Two completions of 20 behind a prompt of 30: one row of 70 columns, squares of 50, the head at 20 columns each."""
    one = answers(LLAMA, 4, 2, 30, 20, 50, head_columns=20)
    expected = 4 * by_hand(70, 40, 70, 2 * 50**2, 2 * 50**2)
    assert one.flops()[MFU_CONVENTION] == pytest.approx(expected, rel=1e-12)
    assert one.with_gradient().flops()[MFU_CONVENTION] == pytest.approx(3 * expected, rel=1e-12)


def test_completions_do_not_share_a_row_that_would_be_longer():
    """Room for a prompt and two completions that is wider than two rows: the rows are read apart."""
    assert answers(LLAMA, 1, 2, 60, 60, 64, head_columns=4) == whole_rows(LLAMA, 2, 64, head_columns=4)


def test_the_pass_of_a_reward_model():
    """No vocabulary's head, and the last layer answers at one token a completion, which sees 50 columns."""
    one = at_last_tokens(answers(LLAMA, 4, 2, 30, 20, 50, head_columns=0), 8)
    expected = 4 * by_hand(70, 0, 2, 2 * 50**2, 2 * 50)
    assert one.flops()[MFU_CONVENTION] == pytest.approx(expected, rel=1e-12)


def test_samples_read_every_token_but_the_last():
    """Prompts of 10 and completions of 4: 10 columns, then 3 single ones that see 11, 12 and 13."""
    drawn = total(sampled(LLAMA, 6, 10, 4.0))[MFU_CONVENTION]
    prompt, steps = by_hand(10, 1, 10, 100, 100), by_hand(3, 3, 3, 11 + 12 + 13, 11 + 12 + 13)
    assert drawn == pytest.approx(6 * (prompt + steps), rel=1e-12)


def test_kaplans_convention_knows_no_head():
    """N without embeddings and head: a head that is left out takes nothing off."""
    without = dataclasses.replace(whole_rows(LLAMA, 1, 8), head_columns=0)
    assert without.flops()["kaplan_6nd_non_embedding"] == whole_rows(LLAMA, 1, 8).flops()["kaplan_6nd_non_embedding"]
    assert without.flops()["6nd"] < whole_rows(LLAMA, 1, 8).flops()["6nd"]


def test_so_many_passes():
    """Counts scale; the gradient stays."""
    one = at_last_tokens(Pass(LLAMA, 10, 100), 1).with_gradient()
    assert one.times(7).flops() == pytest.approx({name: 7 * value for name, value in one.flops().items()})
