"""Grammars: entropy against a list of all sentences, and prediction of pieces against a list of all places where they may stand."""

import math

import numpy as np
import pytest

from scaling.data.known_truth.floor import entropies
from scaling.data.known_truth.grammar import Grammar
from scaling.errors import ConfigError


def tiny() -> Grammar:
    """S -> a A B A | b B C,  A -> c B C | d,  B -> e C | f C C,  C -> g | h: nothing recurs, so all its sentences can be listed."""
    grammar = Grammar(nonterminals=4, rules=2)
    grammar.__dict__["children"] = ((1, 2, 1), (2, 3), (2, 3), (), (3,), (3, 3), (), ())
    grammar.__dict__["probabilities_NxR"] = np.array([[0.7, 0.3], [0.6, 0.4], [0.8, 0.2], [0.9, 0.1]])
    return grammar


TINY = tiny()


def sentences(grammar: Grammar) -> dict[tuple[int, ...], float]:
    """Every sentence with its probability, by expanding every derivation."""
    waiting, found = [(1.0, (), (0,))], {}
    while waiting:
        probability, text, stack = waiting.pop()
        if not stack:
            assert text not in found, "two derivations of one sentence"
            found[text] = probability
            continue
        for rule, share in enumerate(grammar.probabilities_NxR[stack[-1]]):
            terminal = stack[-1] * grammar.rules + rule
            rest = stack[:-1] + grammar.children[terminal][::-1]
            waiting.append((probability * share, (*text, terminal), rest))
    return found


TINY_SENTENCES = sentences(TINY)


def test_sentences_are_unambiguous_and_have_the_stated_entropy_and_length():
    probabilities = np.array(list(TINY_SENTENCES.values()))
    assert len(probabilities) > 300 and probabilities.sum() == pytest.approx(1.0, rel=1e-12)
    assert TINY.sentence_entropy() == pytest.approx(float(entropies(probabilities)), rel=1e-12)
    length = sum(probability * len(text) for text, probability in TINY_SENTENCES.items())
    assert TINY.occurrences_N.sum() == pytest.approx(length, rel=1e-12)
    assert TINY.entropy_rate() == pytest.approx(TINY.sentence_entropy() / (length + 1), rel=1e-12)


def test_a_piece_is_predicted_as_by_whoever_counts_all_places_where_it_may_stand():
    """Bayes by brute force over every (sentence, cut), against the filter over the slots of the rules."""
    after_piece: dict[tuple, dict] = {}
    for text, probability in TINY_SENTENCES.items():
        ended = (*text, "end")
        for begin in range(len(text)):
            for stop in range(begin + 1, len(ended)):
                following = after_piece.setdefault(ended[begin:stop], {})
                following[ended[stop]] = following.get(ended[stop], 0.0) + probability
    for piece, following in after_piece.items():
        for token, mass in following.items():
            symbols = np.array(piece if token == "end" else (*piece, token))
            predicted = math.exp(-TINY.visible_nats(symbols, token == "end")[-1])
            assert predicted == pytest.approx(mass / sum(following.values()), rel=1e-9)


def test_whole_sentences_have_the_probability_of_their_derivation():
    for text, probability in TINY_SENTENCES.items():
        first = TINY.probabilities_NxR.flat[text[0]]
        nats = TINY.visible_nats(np.array(text), True)
        assert len(nats) == len(text) and math.exp(-nats.sum()) * first == pytest.approx(probability, rel=1e-9)


def test_drawn_sentences_have_the_probabilities_of_the_grammar():
    drawn = [tuple(sentence) for sentence in TINY.draw(np.random.default_rng(0), 20_000)]
    assert set(drawn) <= set(TINY_SENTENCES)
    for text in sorted(TINY_SENTENCES, key=TINY_SENTENCES.get)[-10:]:
        probability = TINY_SENTENCES[text]
        assert abs(drawn.count(text) / 20_000 - probability) < 4 * math.sqrt(probability / 20_000)


def test_what_a_long_window_hides_is_the_entropy_of_the_stack_below_its_top():
    """What surfaces after a cut costs -ln P(stack | its top) in all; here every stack of every sentence is listed instead."""
    stacks: dict[tuple, float] = {}
    for text, probability in TINY_SENTENCES.items():
        stack = (0,)
        for terminal in text:
            stacks[stack] = stacks.get(stack, 0.0) + probability / TINY.occurrences_N.sum()
            stack = stack[:-1] + TINY.children[terminal][::-1]
    shares = np.array(list(stacks.values()))
    tops = np.bincount([stack[-1] for stack in stacks], weights=shares)
    floor = TINY.floor()
    assert abs(floor.excess[-1] - (entropies(shares) - entropies(tops))) < 4 * floor.excess_errors[-1]
    assert floor.excess_errors[-1] < 0.02


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rules_are_reweighted_to_the_mean_length(seed):
    grammar = Grammar(seed=seed, mean_length=24.0, held_out_tokens=100_000)
    assert grammar.occurrences_N.sum() == pytest.approx(24.0, rel=1e-6)
    assert np.abs(np.linalg.eigvals(grammar.offspring_NxN)).max() < 1
    lengths = np.array([len(sentence) for sentence in grammar.documents("validation")])
    assert abs(lengths.mean() - 24.0) < 4 * lengths.std() / math.sqrt(len(lengths))


def test_an_impossible_length_is_refused():
    with pytest.raises(ConfigError, match=r"Grammar\.clauses"):
        Grammar(mean_length=5.0, clauses=8)
