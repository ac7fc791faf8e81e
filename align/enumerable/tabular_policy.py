"""A policy with logits of its own for every state: it can be any distribution over the completions of a space."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from align.enumerable.space import Space


def token_log_probs(logits_NxV: jax.Array, space: Space) -> jax.Array:
    """log pi of every token of every completion: [S, T], 0 at padding."""
    log_probs_NxV = jax.nn.log_softmax(logits_NxV, axis=-1)
    return jnp.where(space.mask_SxT, log_probs_NxV[space.states_SxT, space.tokens_SxT], 0)


def sequence_log_probs(logits_NxV: jax.Array, space: Space) -> jax.Array:
    """log pi of every completion: [S]; their exponentials sum to 1."""
    return jnp.sum(token_log_probs(logits_NxV, space), axis=-1)


def distribution(logits_NxV: np.ndarray, space: Space) -> np.ndarray:
    """:func:`sequence_log_probs` in NumPy and float64, whatever precision JAX computes in: what `optimum` and `frontier` read."""
    log_probs_NxV = log_softmax(np.asarray(logits_NxV, np.float64), axis=-1)
    return np.sum(np.where(space.mask_SxT, log_probs_NxV[space.states_SxT, space.tokens_SxT], 0), axis=-1)


def conditional_log_probs(log_probs_S: np.ndarray, space: Space) -> np.ndarray:
    """The table, [N, V], of a distribution over completions: log P(token | state); uniform in states that are never reached."""
    totals_N = np.zeros(len(space.states))
    totals_NxV = np.zeros((len(space.states), space.vocabulary))
    for completion, probability in zip(space.completions, np.exp(np.asarray(log_probs_S, np.float64)), strict=True):
        for t, token in enumerate(completion):
            state = space.states[completion[:t]]
            totals_N[state] += probability
            totals_NxV[state, token] += probability
    reached_Nx1 = totals_N[:, None] > 0
    with np.errstate(divide="ignore"):
        conditional_NxV = np.log(totals_NxV / np.where(reached_Nx1, totals_N[:, None], 1))
    return np.where(reached_Nx1, conditional_NxV, -np.log(space.vocabulary))


def sample(logits_NxV: jax.Array, space: Space, count: int, key: jax.Array) -> jax.Array:
    """int32 [count]: rows of completions, drawn independently from the policy."""
    return jax.random.categorical(key, sequence_log_probs(logits_NxV, space), shape=(count,)).astype(jnp.int32)
