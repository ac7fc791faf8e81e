"""Log-probabilities of tokens stand at the tokens' own indices and depend on lengths alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.models import log_probabilities
from align.sequences import Sequences, completion_mask
from scaling.models import ladder
from scaling.models.transformer import Transformer
from tests.scaling.models import small_models

VOCAB = 23


@pytest.fixture(scope="module")
def policy():
    model = Transformer(ladder.llama(width=16, vocab_size=VOCAB))
    return model, small_models.perturbed(model.config)


def rows(lengths, prompt_lengths, width, seed=0):
    tokens = np.random.default_rng(seed).integers(3, VOCAB, (len(lengths), width)).astype(np.int32)
    tokens[np.arange(width)[None, :] >= np.array(lengths)[:, None]] = 0
    return Sequences(tokens, np.array(prompt_lengths, np.int32), np.array(lengths, np.int32))


@pytest.mark.slow
def test_each_log_probability_is_that_of_the_full_forward_pass_by_a_plain_loop(policy):
    model, parameters = policy
    sequences = rows([9, 6], [3, 4], 10)
    log_probs = log_probabilities.token_log_probs(model, parameters, sequences)
    for row, columns in enumerate(((3, 8), (5,))):
        for index in columns:
            prefix = jnp.asarray(sequences.tokens[row : row + 1, :index])
            logits = model.apply(
                {"params": parameters}, prefix, jnp.ones_like(prefix), jnp.arange(index, dtype=jnp.int32)[None, :]
            )
            expected = jax.nn.log_softmax(logits[0, -1])[sequences.tokens[row, index]]
            np.testing.assert_allclose(log_probs[row, index], expected, rtol=2e-5)


@pytest.mark.slow
def test_what_lies_after_a_row_and_how_wide_it_is_padded_changes_nothing(policy):
    model, parameters = policy
    short, long = rows([9, 6], [3, 4], 10), rows([9, 6], [3, 4], 10)
    padded = np.full((2, 15), 7, np.int32)
    padded[:, :10] = np.where(np.arange(10)[None, :] < long.lengths[:, None], long.tokens, 5)
    long = long._replace(tokens=padded)
    one = log_probabilities.token_log_probs(model, parameters, short) * completion_mask(short)
    other = log_probabilities.token_log_probs(model, parameters, long) * completion_mask(long)
    np.testing.assert_allclose(other[:, :10], one, rtol=1e-5, atol=1e-6)
    assert not np.any(other[:, 10:])


@pytest.mark.slow
def test_columns_before_the_first_completion_need_no_head(policy):
    model, parameters = policy
    sequences = rows([9, 6], [3, 4], 10)
    every = log_probabilities.token_log_probs(model, parameters, sequences)
    late = log_probabilities.token_log_probs(model, parameters, sequences, first_column=3)
    np.testing.assert_allclose(late[:, 3:], every[:, 3:], rtol=1e-5, atol=1e-6)
    assert not np.any(late[:, :3])
    with pytest.raises(ValueError, match="first_column"):
        log_probabilities.token_log_probs(model, parameters, sequences, first_column=0)


@pytest.mark.slow
def test_temperature_divides_the_logits_and_entropy_is_that_of_the_same_distribution(policy):
    model, parameters = policy
    sequences = rows([9, 6], [3, 4], 10)
    found = log_probabilities.token_statistics(model, parameters, sequences, temperature=0.5)
    logits = model.logits(parameters, log_probabilities.hidden_states(model, parameters, sequences)) / 0.5
    distribution = jax.nn.softmax(logits[:, :-1], axis=-1)
    np.testing.assert_allclose(
        found.entropies[:, 1:], -jnp.sum(distribution * jnp.log(distribution), axis=-1), rtol=1e-4
    )
    chosen = np.take_along_axis(np.log(distribution), sequences.tokens[:, 1:, None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.log_probs[:, 1:], chosen, rtol=1e-4)
    hot = log_probabilities.token_log_probs(model, parameters, sequences, temperature=0.5)
    np.testing.assert_allclose(hot, found.log_probs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_exact_divergence_of_a_policy_from_itself_is_zero_and_its_mean_is_that_of_the_samples(policy):
    model, parameters = policy
    other = jax.tree.map(lambda leaf: leaf * 1.1, parameters)
    sequences = rows([9, 6], [3, 4], 10)
    assert not np.any(log_probabilities.exact_token_kl(model, parameters, parameters, sequences))
    exact = log_probabilities.exact_token_kl(model, other, parameters, sequences)
    # At one column, the expectation of log pi - log ref over every possible token.
    column = 5
    tokens = np.repeat(sequences.tokens[:1], VOCAB, axis=0)
    tokens[:, column] = np.arange(VOCAB)
    every = Sequences(tokens, *(np.repeat(x[:1], VOCAB) for x in sequences[1:]))
    ours = log_probabilities.token_log_probs(model, other, every)[:, column]
    theirs = log_probabilities.token_log_probs(model, parameters, every)[:, column]
    np.testing.assert_allclose(exact[0, column], np.sum(np.exp(ours) * (ours - theirs)), rtol=1e-3, atol=1e-7)
