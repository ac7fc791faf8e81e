"""Entropies of Markov chains against closed forms, eigenvectors and counts."""

import math

import numpy as np
import pytest

from scaling.data.known_truth.floor import binary_entropy
from scaling.data.known_truth.markov import MarkovChain
from scaling.errors import ConfigError


def test_two_symbols_have_the_closed_form():
    """P = [[1-a, a], [b, 1-b]]: pi = (b, a) / (a + b), h = (b h(a) + a h(b)) / (a + b) (Cover and Thomas 2006, equation 4.33)."""
    chain = MarkovChain(order=1, alphabet=2, concentration=1.0)
    a, b = chain.transitions_SxV[0, 1], chain.transitions_SxV[1, 0]
    assert chain.entropy_rate() == pytest.approx((b * binary_entropy(a) + a * binary_entropy(b)) / (a + b), rel=1e-12)


def test_the_stationary_distribution_is_the_eigenvector_of_the_chain_of_contexts():
    chain = MarkovChain(order=3, alphabet=3)
    size = 27
    moves = np.zeros((size, size))
    for context in range(size):
        for symbol in range(3):
            moves[context, context * 3 % size + symbol] = chain.transitions_SxV[context, symbol]
    values, vectors = np.linalg.eig(moves.T)
    pi = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    np.testing.assert_allclose(chain.stationary_S, pi / pi.sum(), atol=1e-12)


def counted_entropies(documents, alphabet, longest):
    """H(X | c predecessors) for c = 0 ... longest by counting blocks in all documents: a plug-in estimate."""
    blocks = []
    for length in range(1, longest + 2):
        windows = [np.lib.stride_tricks.sliding_window_view(d, length) for d in documents if len(d) >= length]
        counts = np.bincount(np.concatenate(windows) @ alphabet ** np.arange(length))
        shares = counts[counts > 0] / counts.sum()
        blocks.append(-np.sum(shares * np.log(shares)))
    return np.diff([0.0, *blocks])


def test_counted_n_grams_of_a_long_sample_have_the_stated_entropies():
    """Counting k predecessors finds the rate, counting fewer finds the stated larger entropies, counting one more finds nothing new."""
    chain = MarkovChain(order=2, alphabet=4, mean_length=1000, held_out_tokens=800_000)
    counted = counted_entropies(chain.documents("validation"), 4, longest=3)
    assert counted[1:3] == pytest.approx(chain.entropy_by_context(), abs=5e-3)
    assert counted[3] == pytest.approx(chain.entropy_rate(), abs=5e-3)
    assert counted[1] > chain.entropy_rate() + 0.05


def test_lengths_are_geometric_and_say_nothing_of_the_symbols():
    chain = MarkovChain(order=1, alphabet=4, mean_length=5, held_out_tokens=200_000)
    documents = chain.documents("validation")
    lengths = np.array([len(document) for document in documents])
    assert lengths.mean() == pytest.approx(5, rel=0.03) and lengths.var() == pytest.approx(20, rel=0.08)
    lasts = np.bincount([document[-1] for document in documents], minlength=4) / len(documents)
    np.testing.assert_allclose(lasts, chain.stationary_S, atol=0.015)


def test_a_chain_that_knows_nothing_has_the_entropy_of_a_fair_die():
    chain = MarkovChain(order=2, alphabet=6, concentration=1e9, mean_length=100)
    assert chain.entropy_rate() == pytest.approx(math.log(6), abs=1e-6)
    assert chain.floor().plateau == pytest.approx(binary_entropy(0.01) + 0.99 * math.log(6), abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alphabet": 95, "order": 1}, "needs 95 symbols, but there are 94"),
        ({"order": 7, "alphabet": 8}, r"MarkovChain.order is 7.*keep alphabet\*\*order within"),
        ({"concentration": 0.0}, "MarkovChain.concentration is 0.0"),
        ({"mean_length": 1.0}, "MarkovChain.mean_length is 1.0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_its_field(fields, message):
    with pytest.raises(ConfigError, match=message):
        MarkovChain(**fields)


def test_a_chain_that_hardly_mixes_is_refused():
    """Two symbols that follow themselves nearly always."""
    chain = MarkovChain(order=1, alphabet=2, concentration=1.0)
    chain.__dict__["transitions_SxV"] = np.array([[1 - 1e-7, 1e-7], [3e-7, 1 - 3e-7]])
    with pytest.raises(ConfigError, match="mixes too slowly"):
        chain.entropy_rate()
