"""Rewards over tokens: each against counts made by hand, and on every completion of a small space."""

import itertools

import numpy as np
import pytest

from align.gold.reward import content_mask
from align.gold.token_programs import (
    ForbiddenTokens,
    LengthWindow,
    NoRepeat,
    Parity,
    TokenCount,
    TokenWeights,
    WeightedSum,
)
from align.sequences import Sequences
from scaling.data.vocabularies import EOS_ID, SymbolVocabulary
from scaling.errors import ConfigError

VOCABULARY = SymbolVocabulary(7)
PROMPT = [4, 4, 4]


def sequences(*completions: list[int], length: int = 10) -> Sequences:
    """Rows with a prompt full of token 4 and padding by token 4, so that whoever reads outside the completion is found out."""
    tokens = np.full((len(completions), length), 4, np.int32)
    for row, completion in enumerate(completions):
        tokens[row, : 3 + len(completion)] = PROMPT + completion
    lengths = np.array([3 + len(completion) for completion in completions], np.int32)
    return Sequences(tokens, np.full(len(completions), 3, np.int32), lengths)


ROWS = sequences([4, 5, 4, EOS_ID], [5, 5, 5, 5], [EOS_ID], [3, 4, 5, 6, EOS_ID])


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (TokenCount((4,)), [2, 0, 0, 1]),
        (TokenCount((4, 5)), [3, 4, 0, 2]),
        (TokenCount((4,), most=1), [1, 0, 0, 1]),
        (TokenCount((EOS_ID,)), [0, 0, 0, 0]),
        (ForbiddenTokens((5,)), [-1, -4, 0, -1]),
        (Parity((5,)), [0, 1, 1, 0]),
        (NoRepeat(), [2 / 3, 1 / 4, 1, 1]),
        (NoRepeat(order=2), [1, 1 / 3, 1, 1]),
        (LengthWindow(2, 3), [0, -1, -2, -1]),
        (WeightedSum((TokenCount((4,)), LengthWindow(2, 3)), (1.0, 0.5)), [2, -0.5, -1, 0.5]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_programs_read_the_completion_and_nothing_else(program, expected):
    """Prompt and padding are full of a counted token, and the EOS is no content."""
    scores = program.score(ROWS, VOCABULARY)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


@pytest.mark.parametrize("most", [1, 2])
def test_a_token_counts_with_its_own_weight_and_no_more_often_than_is_said(most):
    program = TokenWeights(seed=3, most=most, scale=0.5)
    w = 0.5 * np.random.Generator(np.random.PCG64(3)).standard_normal(VOCABULARY.size)
    expected = [min(2, most) * w[4] + w[5], min(4, most) * w[5], 0.0, w[3] + w[4] + w[5] + w[6]]
    np.testing.assert_allclose(program.score(ROWS, VOCABULARY), expected, rtol=1e-12)
    assert TokenWeights(seed=4).identity != TokenWeights(seed=3).identity
    with pytest.raises(ConfigError, match="most 0"):
        TokenWeights(most=0)


def test_an_eos_inside_a_completion_is_content():
    """Only the last token may be the end; lengths say where it is, not ids."""
    assert content_mask(sequences([4, EOS_ID, 5, EOS_ID]), EOS_ID).sum() == 3


def test_the_expectation_under_a_uniform_policy_is_exact():
    """On all 4^4 completions of four symbols: the expected count is L / V, parity's expectation (1 + (1 - 2/V)^L) / 2."""
    rows = sequences(*([*ids, EOS_ID] for ids in itertools.product(range(3, 7), repeat=4)))
    assert TokenCount((5,)).score(rows, VOCABULARY).mean() == pytest.approx(1.0, abs=1e-12)
    assert Parity((5,)).score(rows, VOCABULARY).mean() == pytest.approx((1 + (1 - 2 / 4) ** 4) / 2, abs=1e-12)


def test_identities_tell_programs_apart():
    programs = [
        TokenCount((4,)),
        TokenCount((5,)),
        TokenCount((4,), most=1),
        ForbiddenTokens((4,)),
        Parity((4,)),
        NoRepeat(),
        NoRepeat(2),
    ]
    assert len({program.identity for program in programs}) == len(programs)
    assert TokenCount((4,)).identity == TokenCount((4,)).identity


def test_what_makes_no_program_is_refused():
    with pytest.raises(ConfigError, match=r"names the ids \[9\], but the vocabulary has 7"):
        TokenCount((9,)).score(ROWS, VOCABULARY)
    with pytest.raises(ConfigError, match="least 3 and most 2"):
        LengthWindow(3, 2)
    with pytest.raises(ConfigError, match="1 parts and 2 weights"):
        WeightedSum((NoRepeat(),), (1.0, 2.0))
