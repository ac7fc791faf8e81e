"""PPO's losses against plain loops in float64, their monitors, and how parts of a batch add up."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from align.rl import policy_loss as policy_losses
from align.rl import value_loss as value_losses
from align.rl.policy_loss import entropy, pretraining_loss, sequence_policy_loss, surrogate
from align.rl.token_weights import token_weights
from tests.align.rl.rollouts import LENGTH, mask, values

# Compiled whole, because compiling every operation by itself takes longer than the tests.
policy_loss = jax.jit(policy_losses.policy_loss, static_argnames=("clip", "clip_high", "dual_clip"))
value_loss = jax.jit(value_losses.value_loss, static_argnames="clip")

RNG = np.random.default_rng(1)
MASK = mask(RNG)
OLD = values(RNG, MASK)
NEW = OLD + values(RNG, MASK, 0.4)
ADVANTAGES = values(RNG, MASK)
CRITIC, OLD_CRITIC, RETURNS = (values(RNG, MASK) for _ in range(3))
TOKENS = list(zip(*np.nonzero(MASK), strict=True))
PARTS = (slice(0, 1), slice(1, 5), slice(5, None))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def term(log_ratio, advantage, low=0.2, high=0.2, dual=None):
    ratio = math.exp(log_ratio)
    loss = max(-advantage * ratio, -advantage * min(max(ratio, 1 - low), 1 + high))
    return loss if dual is None or advantage >= 0 else min(loss, -dual * advantage)


def terms(**options):
    return {(b, t): term(NEW[b, t] - OLD[b, t], ADVANTAGES[b, t], **options) for b, t in TOKENS}


def arrays(*given, rows=slice(None)):
    return [jnp.asarray(array[rows]) for array in given]


@pytest.mark.parametrize(
    ("options", "derived"),
    [
        ({}, {}),
        ({"clip": 0.1}, {"low": 0.1, "high": 0.1}),
        ({"clip_high": 0.28}, {"high": 0.28}),
        ({"dual_clip": 1.5}, {"dual": 1.5}),
    ],
)
def test_the_clipped_surrogate(options, derived):
    expected = terms(**derived)
    found = policy_loss(*arrays(NEW, OLD, ADVANTAGES), MASK, **options)
    assert found.loss.mean == pytest.approx(np.mean(list(expected.values())), rel=1e-12)
    ratios = {place: math.exp(NEW[place] - OLD[place]) for place in TOKENS}
    bound = [abs(expected[p] + ADVANTAGES[p] * ratios[p]) > 1e-12 for p in TOKENS]
    assert found.clipped.mean == pytest.approx(np.mean(bound)) and 0 < np.mean(bound) < 1
    assert found.ratio.mean == pytest.approx(np.mean(list(ratios.values())), rel=1e-12)
    assert found.ratio_max == pytest.approx(max(ratios.values()), rel=1e-12)
    divergence = [r - 1 - math.log(r) for r in ratios.values()]
    assert found.approximate_kl.mean == pytest.approx(np.mean(divergence), rel=1e-10)


def test_a_clipped_token_has_no_gradient_and_an_unclipped_one_minus_a_rho():
    loss = lambda new: policy_loss(new, *arrays(OLD, ADVANTAGES), MASK).loss.total  # noqa: E731
    gradient = np.asarray(jax.grad(loss)(jnp.asarray(NEW)))
    for place in TOKENS:
        ratio, advantage = math.exp(NEW[place] - OLD[place]), ADVANTAGES[place]
        clipped = ratio > 1.2 if advantage > 0 else ratio < 0.8
        assert gradient[place] == pytest.approx(0.0 if clipped else -advantage * ratio, rel=1e-12)
    assert not np.any(gradient[~MASK])


def test_on_the_first_minibatch_the_ratio_is_exactly_1_and_the_gradient_that_of_the_policy_gradient():
    loss = policy_loss(*arrays(OLD, OLD, ADVANTAGES), MASK)
    assert loss.ratio_max == 1 and loss.ratio.mean == 1 and loss.clipped.total == 0 and loss.approximate_kl.total == 0
    gradient = jax.grad(lambda new: policy_loss(new, *arrays(OLD, ADVANTAGES), MASK).loss.total)(jnp.asarray(OLD))
    np.testing.assert_array_equal(np.asarray(gradient)[MASK], -ADVANTAGES[MASK])


@pytest.mark.parametrize("name", ["tokens", "sequences", "constant", "sum"])
def test_token_normalisations(name):
    by_token, rows = terms(), len(MASK)
    of_row = [[by_token[p] for p in TOKENS if p[0] == b] for b in range(rows)]
    expected = {
        "tokens": sum(by_token.values()) / len(by_token),
        "sequences": np.mean([np.mean(row) for row in of_row]),
        "constant": np.mean([sum(row) / 20 for row in of_row]),
        "sum": np.mean([sum(row) for row in of_row]),
    }[name]
    weights = token_weights(MASK, name, max_length=20, dtype=jnp.float64)
    found = policy_loss(*arrays(NEW, OLD, ADVANTAGES), MASK, weights=weights)
    assert found.loss.mean == pytest.approx(expected, rel=1e-12)

    def part(rows):
        weights = token_weights(MASK[rows], name, max_length=20, dtype=jnp.float64)
        return policy_loss(*arrays(NEW, OLD, ADVANTAGES, rows=rows), MASK[rows], weights=weights).loss

    first, second, third = map(part, PARTS)
    assert first.merged(second).merged(third).mean == pytest.approx(expected, rel=1e-12)


def test_a_constant_normalisation_needs_its_constant():
    with pytest.raises(ValueError, match="max_length"):
        token_weights(MASK, "constant")


def test_one_ratio_for_a_whole_completion():
    advantages, rows = RNG.normal(size=len(MASK)), range(len(MASK))
    log_ratios = [sum(NEW[p] - OLD[p] for p in TOKENS if p[0] == b) for b in rows]
    expected = np.mean([term(log_ratios[b], advantages[b]) for b in rows])
    found = sequence_policy_loss(*arrays(NEW, OLD), jnp.asarray(advantages), MASK)
    assert found.loss.mean == pytest.approx(expected, rel=1e-12)
    assert found.ratio_max == pytest.approx(math.exp(max(log_ratios)), rel=1e-12)


def test_the_clipped_value_loss_and_its_monitors():
    plain = {p: (CRITIC[p] - RETURNS[p]) ** 2 for p in TOKENS}
    held = {p: min(max(CRITIC[p], OLD_CRITIC[p] - 0.2), OLD_CRITIC[p] + 0.2) for p in TOKENS}
    clipped = {p: (held[p] - RETURNS[p]) ** 2 for p in TOKENS}
    found = value_loss(*arrays(CRITIC, OLD_CRITIC, RETURNS), MASK)
    assert found.loss.mean == pytest.approx(np.mean([max(plain[p], clipped[p]) / 2 for p in TOKENS]), rel=1e-12)
    assert found.clipped.mean == pytest.approx(np.mean([clipped[p] > plain[p] for p in TOKENS]))
    errors = np.array([RETURNS[p] - CRITIC[p] for p in TOKENS])
    share = 1 - errors.var() / RETURNS[MASK].var()
    assert found.explained_variance == pytest.approx(share, rel=1e-10)
    unclipped = value_loss(*arrays(CRITIC, OLD_CRITIC, RETURNS), MASK, clip=None)
    assert unclipped.loss.mean == pytest.approx(np.mean(list(plain.values())) / 2, rel=1e-12)
    perfect = value_loss(*arrays(RETURNS, OLD_CRITIC, RETURNS), MASK)
    assert perfect.explained_variance == 1 and 0 < found.clipped.mean < 1
    constant = value_loss(*arrays(CRITIC, OLD_CRITIC, np.ones(MASK.shape)), MASK)
    assert constant.explained_variance == 0


def test_parts_of_a_batch_add_up_to_its_value_loss_and_explained_variance():
    whole = value_loss(*arrays(CRITIC, OLD_CRITIC, RETURNS), MASK)
    parts = [value_loss(*arrays(CRITIC, OLD_CRITIC, RETURNS, rows=rows), MASK[rows]) for rows in PARTS]
    merged = parts[0].merged(parts[1]).merged(parts[2])
    for name in ("loss", "clipped"):
        np.testing.assert_allclose(getattr(merged, name).mean, getattr(whole, name).mean, rtol=1e-12)
    np.testing.assert_allclose(merged.explained_variance, whole.explained_variance, rtol=1e-10)


def test_parts_of_a_batch_add_up_to_its_policy_loss_and_monitors():
    whole = policy_loss(*arrays(NEW, OLD, ADVANTAGES), MASK)
    parts = [policy_loss(*arrays(NEW, OLD, ADVANTAGES, rows=rows), MASK[rows]) for rows in PARTS]
    merged = parts[0].merged(parts[1]).merged(parts[2])
    for found, expected in zip(merged[:-1], whole[:-1], strict=True):
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    assert merged.ratio_max == whole.ratio_max


def test_gradients_are_those_of_finite_differences():
    filled = [np.nan_to_num(array) for array in (NEW, OLD, ADVANTAGES)]
    options = {"order": 1, "modes": ["rev"], "rtol": 1e-6, "atol": 1e-6}
    check_grads(lambda new: policy_loss(new, *filled[1:], MASK, dual_clip=1.5).loss.mean, (filled[0],), **options)
    filled = [np.nan_to_num(array) for array in (CRITIC, OLD_CRITIC, RETURNS)]
    check_grads(lambda critic: value_loss(critic, *filled[1:], MASK).loss.mean, (filled[0],), **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_log_ratios_of_twenty_thousand_stay_finite(dtype, dual_clip):
    ratios, advantages = np.array([20_000, 20_000, -20_000, -20_000], dtype), np.array([1, -1, 1, -1], dtype)
    value, gradient = jax.value_and_grad(lambda r: jnp.sum(surrogate(r, advantages, dual_clip=dual_clip)))(ratios)
    assert np.isfinite(value) and np.all(np.isfinite(gradient)) and value.dtype == dtype


def test_entropy_and_the_pretraining_term():
    logits = RNG.normal(size=(3, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        entropy(jnp.asarray(logits)), [-sum(p * math.log(p) for p in row) for row in probs], rtol=1e-12
    )
    assert entropy(jnp.zeros(7)) == pytest.approx(math.log(7))
    assert np.isfinite(entropy(jnp.asarray([0.0, -jnp.inf, -20_000])))
    found = pretraining_loss(jnp.asarray(OLD), MASK)
    assert found.mean == pytest.approx(-np.mean(OLD[MASK])) and found.count == MASK.sum() <= MASK.size
    assert MASK.shape[1] == LENGTH
