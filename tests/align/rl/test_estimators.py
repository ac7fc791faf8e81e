"""KL estimators, token rewards, advantages, whitening and controllers against plain loops, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.rl import controllers
from align.rl import gae as estimation
from align.rl.advantages import group_relative, leave_one_out, standardise
from align.rl.controller_config import ControllerConfig
from align.rl.gae import state_values
from align.rl.kl import ESTIMATORS, exact_token_kl, sequence_kl, token_kl
from align.rl.rewards import penalise_missing_eos, scored_mask, token_rewards
from align.rl.whitening import Moments, scale, whiten
from align.sums import Sum
from scaling.errors import ConfigError
from tests.align.rl.rollouts import LENGTH, mask, values

# Compiled whole, because compiling every operation by itself takes longer than the tests.
gae = jax.jit(estimation.gae, static_argnums=(3, 4), static_argnames=("trace", "gaps"))

RNG = np.random.default_rng(0)
MASK = mask(RNG)
ROWS = len(MASK)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def real_tokens():
    return [[t for t in range(LENGTH) if MASK[b, t]] for b in range(ROWS)]


@pytest.mark.parametrize(
    ("name", "formula"),
    [("k1", lambda d: d), ("k2", lambda d: d * d / 2), ("k3", lambda d: math.exp(-d) - 1 + d)],
)
def test_kl_estimators_per_token_and_summed(name, formula):
    policy, reference = values(RNG, MASK), values(RNG, MASK)
    expected = np.zeros(MASK.shape)
    for b, tokens in enumerate(real_tokens()):
        for t in tokens:
            expected[b, t] = formula(policy[b, t] - reference[b, t])
    found = token_kl(jnp.asarray(policy), jnp.asarray(reference), MASK, name)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sequence_kl(found, MASK), [sum(row) for row in expected], rtol=1e-12)
    clamped = token_kl(jnp.asarray(policy), jnp.asarray(reference), MASK, name, clamp=0.5)
    differences = np.clip(np.where(MASK, policy - reference, 0), -0.5, 0.5)
    np.testing.assert_allclose(clamped, np.vectorize(formula)(differences), rtol=1e-12, atol=1e-12)


def test_the_exact_kl_is_the_sum_over_the_vocabulary_and_exactly_0_from_itself():
    logits, other = RNG.normal(size=(2, 3, 4, 5))
    expected = np.zeros((3, 4))
    for place in np.ndindex(3, 4):
        p, q = (np.exp(x[place]) / np.sum(np.exp(x[place])) for x in (logits, other))
        expected[place] = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    np.testing.assert_allclose(exact_token_kl(jnp.asarray(logits), jnp.asarray(other)), expected, rtol=1e-10)
    single = jnp.asarray(logits, jnp.float32)
    np.testing.assert_array_equal(exact_token_kl(single, single), 0)
    for estimator in ESTIMATORS.values():
        np.testing.assert_array_equal(estimator(jnp.zeros(3, jnp.float32)), 0)
    forbidden = jnp.asarray(logits).at[..., 0].set(-jnp.inf)
    assert np.all(np.isfinite(exact_token_kl(forbidden, jnp.asarray(other))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_log_ratios_of_twenty_thousand_stay_finite(name, dtype):
    value, gradient = jax.vmap(jax.value_and_grad(ESTIMATORS[name]))(np.array([20_000, -20_000, 0], dtype))
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(gradient)) and value.dtype == dtype


def test_k3_of_nearly_equal_policies_keeps_its_digits():
    """d^2 / 2 - d^3 / 6 + ..., of which exp(-d) - 1 + d in float32 is off by 2%."""
    d = jnp.asarray(1e-3, jnp.float32)
    np.testing.assert_allclose(ESTIMATORS["k3"](d), 5e-7 - 1e-9 / 6, rtol=1e-3)
    assert abs((jnp.exp(-d) - 1 + d) / 5e-7 - 1) > 0.01


def test_the_score_stands_at_the_last_token_and_fractions_survive():
    scores = np.array([0.75, -0.25, 3, 1e-3, 0.5, 2.5, -7.125])
    penalties = np.where(MASK, RNG.normal(size=MASK.shape), 0)
    expected = np.zeros(MASK.shape)
    for b, tokens in enumerate(real_tokens()):
        for t in tokens:
            expected[b, t] = -0.3 * penalties[b, t] + (scores[b] if t == tokens[-1] else 0)
    for integers in (bool, np.int32):
        found = token_rewards(jnp.asarray(scores), jnp.asarray(penalties), MASK.astype(integers), 0.3)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    of_integers = token_rewards(jnp.arange(ROWS), jnp.asarray(penalties), MASK, 0.3)
    assert of_integers.dtype == jnp.float64


def test_the_score_at_the_first_padding_reaches_the_returns_under_the_mask_that_goes_with_it():
    scores, zeros = RNG.normal(size=ROWS), np.zeros(MASK.shape)
    found = token_rewards(jnp.asarray(scores), jnp.asarray(zeros), MASK, 0.3, score_at="first_padding")
    wide = scored_mask(MASK, "first_padding")
    for b, tokens in enumerate(real_tokens()):
        place = min(tokens[-1] + 1, LENGTH - 1)
        assert found[b, place] == scores[b] and np.count_nonzero(found[b]) == 1
        np.testing.assert_array_equal(np.flatnonzero(wide[b]), sorted({*tokens, place}))
    returns = gae(found, jnp.asarray(zeros), wide, trace=1.0).returns
    np.testing.assert_allclose([returns[b, tokens[0]] for b, tokens in enumerate(real_tokens())], scores)
    np.testing.assert_array_equal(scored_mask(MASK), MASK)


def test_a_missing_eos_costs():
    scores, ended = np.array([1, 2, 3]), np.array([True, False, True])
    np.testing.assert_allclose(penalise_missing_eos(jnp.asarray(scores), ended, 1.5), [1, 0.5, 3])
    np.testing.assert_allclose(penalise_missing_eos(jnp.asarray(scores), ended, 1.5, "replace"), [1, -1.5, 3])


@pytest.mark.parametrize(("discount", "trace"), [(1.0, 0.95), (0.9, 0.0), (0.97, 1.0)])
def test_gae_is_the_sum_of_discounted_errors(discount, trace):
    """A_t = sum_k (g l)^k delta_{t+k} within the completion (Schulman et al. 2016, eq. 16), not by recursion."""
    rewards, critic = values(RNG, MASK), values(RNG, MASK)
    advantages, returns = gae(jnp.asarray(rewards), jnp.asarray(critic), MASK, discount, trace)
    for b, tokens in enumerate(real_tokens()):
        following = [*(critic[b, t] for t in tokens[1:]), 0.0]
        errors = [rewards[b, t] + discount * v - critic[b, t] for t, v in zip(tokens, following, strict=True)]
        for place, t in enumerate(tokens):
            expected = sum((discount * trace) ** k * error for k, error in enumerate(errors[place:]))
            assert advantages[b, t] == pytest.approx(expected, rel=1e-10)
            assert returns[b, t] == pytest.approx(expected + critic[b, t], rel=1e-10)
    assert not np.any(np.asarray(advantages)[~MASK]) and not np.any(np.asarray(returns)[~MASK])


def test_with_trace_1_the_returns_are_the_rewards_to_come_whatever_the_values():
    rewards, critic = values(RNG, MASK), values(RNG, MASK)
    returns = gae(jnp.asarray(rewards), jnp.asarray(critic), MASK, 1.0, 1.0).returns
    for b, tokens in enumerate(real_tokens()):
        for t in tokens:
            assert returns[b, t] == pytest.approx(sum(rewards[b, u] for u in tokens if u >= t))


def test_gaps_are_bridged_or_stepped_through():
    holes = np.array([[0, 1, 1, 0, 0, 1, 1, 0]], bool)
    rewards, critic = values(RNG, holes), values(RNG, holes)
    dense = np.flatnonzero(holes[0])
    bridged = gae(jnp.asarray(rewards), jnp.asarray(critic), holes, 0.9, 0.8)
    closed = gae(jnp.asarray(rewards[:, dense]), jnp.asarray(critic[:, dense]), np.ones((1, 4), bool), 0.9, 0.8)
    np.testing.assert_allclose(bridged.advantages[:, dense], closed.advantages, rtol=1e-12)
    stepped = gae(jnp.asarray(rewards), jnp.asarray(critic), holes, 0.9, 0.8, gaps="step")
    filled = [jnp.asarray(np.where(holes, x, 0))[:, 1:7] for x in (rewards, critic)]
    every = gae(*filled, np.ones((1, 6), bool), 0.9, 0.8)
    np.testing.assert_allclose(stepped.advantages[:, dense], every.advantages[:, dense - 1], rtol=1e-12)
    whole = [
        gae(jnp.asarray(rewards[:, :3]), jnp.asarray(critic[:, :3]), holes[:, :3], gaps=g) for g in ("bridge", "step")
    ]
    np.testing.assert_array_equal(whole[0].advantages, whole[1].advantages)


def test_gae_does_not_see_the_padding_of_a_row():
    rewards, critic = values(RNG, MASK), values(RNG, MASK)
    found = gae(jnp.asarray(rewards), jnp.asarray(critic), MASK)
    wide = [
        np.pad(x, ((0, 0), (2, 3)), constant_values=c) for x, c in ((rewards, np.inf), (critic, np.inf), (MASK, False))
    ]
    padded = gae(jnp.asarray(wide[0]), jnp.asarray(wide[1]), wide[2])
    np.testing.assert_allclose(padded.returns[:, 2:-3], found.returns, rtol=1e-12)


def test_the_value_of_a_state_is_what_the_head_said_before_its_token():
    np.testing.assert_array_equal(state_values(jnp.asarray([[1.0, 2, 3], [4, 5, 6]])), [[0, 1, 2], [0, 4, 5]])


@pytest.mark.parametrize("variance", ["population", "unbiased"])
def test_whitening_uses_real_tokens_and_the_named_variance(variance):
    given = values(RNG, MASK, 3.0) + 2
    real = given[MASK]
    std = math.sqrt(real.var(ddof=int(variance == "unbiased")) + 1e-8)
    for shift in (True, False):
        found = np.asarray(whiten(jnp.asarray(given), MASK, variance, shift_mean=shift))
        np.testing.assert_allclose(found[MASK], (real - real.mean()) / std + (0 if shift else real.mean()), rtol=1e-12)
        assert not np.any(found[~MASK])
    scaled = np.asarray(scale(jnp.asarray(given), MASK, variance))
    np.testing.assert_allclose(scaled[MASK], real / std, rtol=1e-12)


def test_moments_merge_over_parts_without_loss():
    given = values(RNG, MASK) + 1e6
    parts = [Moments.over(jnp.asarray(given[rows]), MASK[rows]) for rows in (slice(0, 1), slice(1, 5), slice(5, None))]
    merged = parts[0].merged(parts[1]).merged(parts[2])
    assert merged.mean == pytest.approx(given[MASK].mean(), rel=1e-14)
    assert merged.variance() == pytest.approx(given[MASK].var(), rel=1e-8)
    whole = whiten(jnp.asarray(given), MASK)
    np.testing.assert_allclose(whiten(jnp.asarray(given[:2]), MASK[:2], moments=merged), whole[:2], rtol=1e-7)
    empty = Moments.over(jnp.zeros(3), jnp.zeros(3))
    assert merged.merged(empty).mean == merged.mean and float(empty.variance("unbiased")) == 0


def test_sums_are_weighed_by_their_counts():
    parts = [Sum.over(jnp.asarray([1.0, 2.0, np.nan]), jnp.asarray([1, 1, 0])), Sum.over(jnp.asarray([6.0]))]
    assert parts[0].merged(parts[1]).mean == 3.0
    assert Sum.over(jnp.asarray([np.nan]), jnp.asarray([0])).mean == 0


def test_leave_one_out_and_group_relative_advantages():
    rewards = RNG.normal(size=(3, 4))
    for g in range(3):
        others = [[rewards[g, j] for j in range(4) if j != i] for i in range(4)]
        expected = [rewards[g, i] - sum(others[i]) / 3 for i in range(4)]
        np.testing.assert_allclose(leave_one_out(jnp.asarray(rewards))[g], expected, rtol=1e-10)
        for variance, lost in (("population", 0), ("unbiased", 1)):
            found = group_relative(jnp.asarray(rewards), variance=variance)[g]
            expected = (rewards[g] - rewards[g].mean()) / (rewards[g].std(ddof=lost) + 1e-4)
            np.testing.assert_allclose(found, expected, rtol=1e-10)
            found = group_relative(jnp.asarray(rewards), "batch", variance)[g]
            expected = (rewards[g] - rewards[g].mean()) / (rewards.std(ddof=lost) + 1e-4)
            np.testing.assert_allclose(found, expected, rtol=1e-10)
        found = group_relative(jnp.asarray(rewards), "none")[g]
        np.testing.assert_allclose(found, rewards[g] - rewards[g].mean(), rtol=1e-10)
    expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(standardise(jnp.asarray(rewards)), expected, rtol=1e-10)
    np.testing.assert_array_equal(group_relative(jnp.full((2, 3), 0.1)), 0)
    with pytest.raises(ValueError, match="two completions"):
        leave_one_out(jnp.ones((3, 1)))


def test_controllers_follow_the_measured_kl():
    measured = [3.0, 6.6, 100.0, 0.0]
    expected = {"fixed": [0.2] * 4, "adaptive": [], "alpaca_farm": []}
    for name, gain in (("adaptive", 64 / 1000), ("alpaca_farm", 0.1)):
        beta = 0.2
        for kl in measured:
            beta *= 1 + gain * min(0.2, max(-0.2, kl / 6 - 1))
            expected[name].append(beta)
    for name, path in expected.items():
        config = ControllerConfig(name, beta=0.2, target=6.0, horizon=1000.0)
        state, found = controllers.initial(config), []
        step = jax.jit(lambda state, kl, config=config: controllers.updated(config, state, kl, 64))
        for kl in measured:
            state = step(state, kl)
            found.append(float(state.beta))
        np.testing.assert_allclose(found, path, rtol=1e-12)
        leaves, tree = jax.tree.flatten(state)
        assert len(leaves) == 1 and jax.tree.unflatten(tree, leaves) == state


@pytest.mark.parametrize("field", ["beta", "target", "horizon", "step_gain", "error_clip"])
def test_a_controller_that_cannot_steer_is_refused_by_its_field(field):
    with pytest.raises(ConfigError, match=field):
        ControllerConfig("adaptive", **{field: -1.0})
    with pytest.raises(ConfigError, match="name"):
        ControllerConfig("proportional")
