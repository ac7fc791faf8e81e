"""A space with its rewards, and the shortest loops that train a tabular policy on it with the functions of align/.

PPO learns from samples, preference losses from their exact expectation.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from align.enumerable.population import preference_loss
from align.enumerable.space import Space
from align.enumerable.tabular_policy import distribution, sample, token_log_probs
from align.rl.gae import gae
from align.rl.kl import token_kl
from align.rl.policy_loss import policy_loss
from align.rl.rewards import token_rewards
from align.rl.value_loss import value_loss
from align.rl.whitening import whiten


class Problem(NamedTuple):
    """A space, a reference policy over it and rewards of its completions."""

    space: Space
    reference_NxV: np.ndarray
    rewards_S: np.ndarray

    @property
    def reference_S(self) -> np.ndarray:
        """log ref of every completion, float64."""
        return distribution(self.reference_NxV, self.space)


def problem(vocabulary: int = 3, length: int = 3, eos: int | None = 0, seed: int = 0) -> Problem:
    """Completions of different lengths where there is an EOS; rewards of unit spread that no sum over tokens explains."""
    space, rng = Space(vocabulary, length, eos), np.random.default_rng(seed)
    return Problem(space, rng.normal(size=(len(space.states), vocabulary)), rng.normal(size=len(space.completions)))


class Rollout(NamedTuple):
    """What PPO's minibatches are taken from; arrays [B, T] and states and tokens of the rows."""

    rows: jax.Array
    log_probs: jax.Array
    values: jax.Array
    advantages: jax.Array
    returns: jax.Array


def collect(parameters, given: Problem, beta: float, batch: int, key: jax.Array) -> Rollout:
    """Samples, token rewards with the k1 penalty, advantages and returns."""
    space = given.space
    rows = sample(parameters["logits"], space, batch, key)
    mask_BxT = jnp.asarray(space.mask_SxT)[rows]
    log_probs_BxT = token_log_probs(parameters["logits"], space)[rows]
    reference_BxT = token_log_probs(jnp.asarray(given.reference_NxV, log_probs_BxT.dtype), space)[rows]
    penalties_BxT = token_kl(log_probs_BxT, reference_BxT, mask_BxT, "k1")
    rewards_BxT = token_rewards(jnp.asarray(given.rewards_S)[rows], penalties_BxT, mask_BxT, beta)
    values_BxT = parameters["values"][space.states_SxT][rows]
    advantages_BxT, returns_BxT = gae(rewards_BxT, values_BxT, mask_BxT, trace=0.95)
    return Rollout(rows, log_probs_BxT, values_BxT, whiten(advantages_BxT, mask_BxT), returns_BxT)


def ppo(
    given: Problem, beta: float, rollouts: int = 200, batch: int = 512, epochs: int = 2, seed: int = 0
) -> np.ndarray:
    """Clipped PPO from the reference; log-probabilities of the policy it ends at, [S]."""
    space = given.space
    schedule = optax.linear_schedule(0.05, 0.0, rollouts * epochs * 2)
    optimizer = optax.adam(schedule, eps=1e-5)

    def loss(parameters, part: Rollout):
        mask_BxT = jnp.asarray(space.mask_SxT)[part.rows]
        log_probs_BxT = token_log_probs(parameters["logits"], space)[part.rows]
        values_BxT = parameters["values"][space.states_SxT][part.rows]
        policy = policy_loss(log_probs_BxT, part.log_probs, part.advantages, mask_BxT)
        return policy.loss.mean + 0.1 * value_loss(values_BxT, part.values, part.returns, mask_BxT).loss.mean

    def minibatch(state, part):
        parameters, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(parameters, part), moments)
        return (optax.apply_updates(parameters, updates), moments), None

    def one_rollout(state, key):
        rollout = collect(state[0], given, beta, batch, key)
        # The rows are drawn independently, so any split of them is a random one.
        halves = jax.tree.map(lambda leaf: leaf.reshape(2, batch // 2, *leaf.shape[1:]), rollout)
        for _ in range(epochs):
            state, _ = jax.lax.scan(minibatch, state, halves)
        return state, None

    parameters = {"logits": jnp.asarray(given.reference_NxV, jnp.float32), "values": jnp.zeros(len(space.states))}
    keys = jax.random.split(jax.random.key(seed), rollouts)
    run = jax.jit(functools.partial(jax.lax.scan, one_rollout))
    (parameters, _), _ = run((parameters, optimizer.init(parameters)), keys)
    return distribution(parameters["logits"], space)


def descend(given: Problem, config, steps: int = 300) -> np.ndarray:
    """L-BFGS on the exact expected loss of a preference loss, from the reference; log-probabilities it ends at, [S]."""
    reference = jnp.asarray(given.reference_NxV)
    loss = functools.partial(
        preference_loss, reference_NxV=reference, rewards_S=given.rewards_S, space=given.space, config=config
    )
    optimizer = optax.lbfgs()
    value_and_gradient = optax.value_and_grad_from_state(loss)

    def step(state, _):
        logits, memory = state
        value, gradient = value_and_gradient(logits, state=memory)
        updates, memory = optimizer.update(gradient, memory, logits, value=value, grad=gradient, value_fn=loss)
        return (optax.apply_updates(logits, updates), memory), value

    run = jax.jit(lambda start: jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps))
    (logits, _), _ = run(reference)
    return distribution(logits, given.space)
