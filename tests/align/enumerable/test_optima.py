"""DPO's optimum is RLHF's, and PPO with the functions of align/rl finds it: measured exactly, by enumeration.

What is measured is (J(pi) - J(ref)) / (J(pi*) - J(ref)) with J(pi) = E_pi[r] - beta KL(pi || ref) over all completions and J(pi*) = beta log Z.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.enumerable.optimum import attained, optimal_log_probs
from align.enumerable.population import preference_loss
from align.enumerable.tabular_policy import conditional_log_probs
from align.losses.preference.config import PreferenceConfig
from tests.align.enumerable.small_loops import collect, descend, ppo, problem

GIVEN = problem(vocabulary=4, length=3, eos=0)


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
def test_ppo_attains_98_percent_of_what_can_be_gained(beta):
    share = attained(ppo(GIVEN, beta), GIVEN.reference_S, GIVEN.rewards_S, beta)
    print(f"PPO, beta {beta}: {share:.5f} of the exact gain")
    assert share >= 0.98


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
def test_dpo_on_the_whole_population_attains_99_percent_and_ends_at_the_optimum_of_rlhf(beta):
    given = problem()
    with jax.enable_x64(True):
        found = descend(given, PreferenceConfig("sigmoid", beta))
    share = attained(found, given.reference_S, given.rewards_S, beta)
    print(f"DPO, beta {beta}: {share:.9f} of the exact gain")
    assert share >= 0.99
    np.testing.assert_allclose(found, optimal_log_probs(given.reference_S, given.rewards_S, beta), atol=1e-5)


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
def test_the_optimum_of_rlhf_is_where_the_gradient_of_dpo_vanishes(beta):
    given = problem()
    best = optimal_log_probs(given.reference_S, given.rewards_S, beta)
    with jax.enable_x64(True):
        gradient = jax.grad(preference_loss)
        arguments = (jnp.asarray(given.reference_NxV), given.rewards_S, given.space)
        at_best = gradient(
            jnp.asarray(conditional_log_probs(best, given.space)), *arguments, PreferenceConfig("sigmoid", beta)
        )
        at_reference = gradient(jnp.asarray(given.reference_NxV), *arguments, PreferenceConfig("sigmoid", beta))
        other = gradient(
            jnp.asarray(conditional_log_probs(best, given.space)), *arguments, PreferenceConfig("hinge", beta)
        )
    assert np.max(np.abs(at_best)) < 1e-14
    assert np.max(np.abs(at_reference)) > 1e-4 and np.max(np.abs(other)) > 1e-4


def test_flipped_labels_move_the_optimum_of_dpo_but_not_that_of_robust_dpo():
    """With labels flipped at rate e, robust DPO's expected gradient at pi* is still 0 (Chowdhury et al. 2024)."""
    given, beta, e = problem(), 0.3, 0.2
    best = optimal_log_probs(given.reference_S, given.rewards_S, beta)
    with jax.enable_x64(True):
        table = jnp.asarray(conditional_log_probs(best, given.space))

        def flipped(config):
            """Rewards of the opposite sign give the opposite labels."""

            def loss(logits):
                arguments = (jnp.asarray(given.reference_NxV), given.space, config)
                clean = preference_loss(logits, arguments[0], given.rewards_S, *arguments[1:])
                return (1 - e) * clean + e * preference_loss(logits, arguments[0], -given.rewards_S, *arguments[1:])

            return np.max(np.abs(jax.grad(loss)(table)))

        assert flipped(PreferenceConfig("robust", beta, label_smoothing=e)) < 1e-14
        assert flipped(PreferenceConfig("sigmoid", beta)) > 1e-4


def test_the_first_ratio_of_a_rollout_is_exactly_1_and_fractions_of_a_score_survive():
    with jax.enable_x64(False):
        parameters = {
            "logits": jnp.asarray(GIVEN.reference_NxV, jnp.float32),
            "values": jnp.zeros(len(GIVEN.space.states)),
        }
        fractional = GIVEN._replace(rewards_S=np.full(len(GIVEN.rewards_S), 0.75))
        rollout = collect(parameters, fractional, beta=0.3, batch=64, key=jax.random.key(0))
    last_B = GIVEN.space.lengths_S[rollout.rows] - 1
    # The policy is the reference, so the KL penalty is exactly 0 and the last return is the score itself.
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(rollout.returns), last_B[:, None], 1), 0.75)
