"""Entropy rates of hidden Markov models against Birch's bounds and against models that hide nothing, or everything."""

import numpy as np
import pytest

from scaling.data.known_truth.floor import entropies
from scaling.data.known_truth.hidden_markov import HiddenMarkov, birch_bounds
from scaling.data.known_truth.markov import MarkovChain
from scaling.errors import ConfigError


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_rate_lies_between_the_bounds_of_birch(seed):
    """They close in on it as blocks grow, and at 9 symbols leave less than the states hide."""
    model = HiddenMarkov(
        sample_blocks=4096, seed=seed, states=3, alphabet=3, transition_concentration=0.5, emission_concentration=0.5
    )
    rate = model.entropy_rate()
    wide, narrow = birch_bounds(model, 3), birch_bounds(model, 9)
    assert wide[0] < narrow[0] <= narrow[1] < wide[1]
    assert narrow[0] - 4 * rate.error < rate.nats < narrow[1] + 4 * rate.error
    assert rate.error < 1e-3


def test_entropies_of_short_contexts_are_those_of_enumerated_blocks():
    model = HiddenMarkov(
        sample_blocks=4096, states=4, alphabet=3, transition_concentration=0.3, emission_concentration=0.3
    )
    by_context_BxC, _ = model._filtered
    for seen in (1, 2, 5):
        sample_B = by_context_BxC[:, seen - 1]
        error = sample_B.std() / np.sqrt(len(sample_B))
        assert abs(sample_B.mean() - birch_bounds(model, seen + 1)[1]) < 4 * error + 1e-12


def test_one_state_draws_independent_symbols():
    model = HiddenMarkov(sample_blocks=4096, states=1, alphabet=5, emission_concentration=1.0)
    assert model.entropy_rate().nats == pytest.approx(float(entropies(model.emissions_SxV[0])), rel=1e-12)


def test_states_that_show_are_a_markov_chain():
    """With one symbol for each state the rate is that of the chain of states, which another class computes in another way."""
    model = HiddenMarkov(sample_blocks=4096, states=4, alphabet=4, transition_concentration=0.5)
    model.__dict__["emissions_SxV"] = np.eye(4)
    chain = MarkovChain(order=1, alphabet=4)
    chain.__dict__["transitions_SxV"] = model.transitions_SxS
    rate = model.entropy_rate()
    assert abs(rate.nats - chain.entropy_rate()) < 4 * rate.error


def test_a_memory_longer_than_what_is_kept_apart_is_refused():
    """Two states that change once in ten thousand symbols and are hardly told apart by them."""
    model = HiddenMarkov(sample_blocks=4096, states=2, alphabet=2)
    model.__dict__["transitions_SxS"] = np.array([[0.9999, 0.0001], [0.0001, 0.9999]])
    model.__dict__["emissions_SxV"] = np.array([[0.45, 0.55], [0.55, 0.45]])
    with pytest.raises(ConfigError, match="remembers more than 128 symbols"):
        model.entropy_rate()
