"""What the KL estimators are as losses, by enumeration: the gradient of their expectation over samples that do not move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.enumerable.tabular_policy import sequence_log_probs, token_log_probs
from align.rl.kl import ESTIMATORS, exact_token_kl, sequence_kl, token_kl
from tests.align.enumerable.small_loops import problem

GIVEN = problem()
SPACE = GIVEN.space


@pytest.fixture
def policy():
    with jax.enable_x64(True):
        yield jnp.asarray(GIVEN.reference_NxV + np.random.default_rng(5).normal(size=GIVEN.reference_NxV.shape))


def reference():
    return jnp.asarray(GIVEN.reference_NxV)


def log_ratios(logits):
    return sequence_log_probs(logits, SPACE) - sequence_log_probs(reference(), SPACE)


def reverse_kl(logits):
    return jnp.sum(jnp.exp(sequence_log_probs(logits, SPACE)) * log_ratios(logits))


def forward_kl(logits):
    return -jnp.sum(jnp.exp(sequence_log_probs(reference(), SPACE)) * log_ratios(logits))


def on_policy_gradient(estimator, policy):
    probs_S = jnp.exp(sequence_log_probs(policy, SPACE))
    return jax.grad(lambda logits: jnp.sum(probs_S * ESTIMATORS[estimator](log_ratios(logits))))(policy)


def test_k1_and_k3_are_unbiased_and_k2_is_not(policy):
    probs_S = jnp.exp(sequence_log_probs(policy, SPACE))
    means = {name: jnp.sum(probs_S * estimator(log_ratios(policy))) for name, estimator in ESTIMATORS.items()}
    np.testing.assert_allclose([means["k1"], means["k3"]], reverse_kl(policy), rtol=1e-12)
    assert abs(means["k2"] - reverse_kl(policy)) > 0.02


def test_as_losses_k1_teaches_nothing_k2_reverse_kl_and_k3_forward_kl(policy):
    np.testing.assert_allclose(on_policy_gradient("k1", policy), 0, atol=1e-14)
    np.testing.assert_allclose(on_policy_gradient("k2", policy), jax.grad(reverse_kl)(policy), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(on_policy_gradient("k3", policy), jax.grad(forward_kl)(policy), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("estimator", "sides"), [("k1", None), ("k2", "reverse"), ("k3", "forward")])
def test_per_token_they_teach_the_kl_of_the_next_token_in_the_states_that_were_sampled(policy, estimator, sides):
    """Summed over tokens, gradients do not see how a token changes the states that follow: that is the policy gradient's part."""
    probs_S = jnp.exp(sequence_log_probs(policy, SPACE))
    visits_N = jnp.zeros(len(SPACE.states)).at[SPACE.states_SxT].add(probs_S[:, None] * SPACE.mask_SxT)

    def sampled(logits):
        estimates = token_kl(
            token_log_probs(logits, SPACE), token_log_probs(reference(), SPACE), SPACE.mask_SxT, estimator
        )
        return jnp.sum(probs_S * sequence_kl(estimates, SPACE.mask_SxT))

    def exact(logits):
        forward = sides == "forward"
        return jnp.sum(
            visits_N * (exact_token_kl(reference(), logits) if forward else exact_token_kl(logits, reference()))
        )

    expected = np.zeros_like(policy) if sides is None else jax.grad(exact)(policy)
    np.testing.assert_allclose(jax.grad(sampled)(policy), expected, rtol=1e-10, atol=1e-14)
    if estimator != "k2":
        np.testing.assert_allclose(sampled(policy), reverse_kl(policy), rtol=1e-12)


def test_sampled_estimates_are_within_four_standard_errors_of_the_exact_kl(policy):
    probs = np.exp(np.asarray(sequence_log_probs(policy, SPACE)))
    drawn = np.random.default_rng(0).choice(len(probs), size=20_000, p=probs / probs.sum())
    for name in ("k1", "k3"):
        values = np.asarray(ESTIMATORS[name](log_ratios(policy)))[drawn]
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - reverse_kl(policy)) < 4 * error, name
