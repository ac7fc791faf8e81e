"""Expected losses over everything that could be sampled, differentiable in the policy: what training sees with data without end."""

import jax
import jax.numpy as jnp
import numpy as np

from align.enumerable.space import Space
from align.enumerable.tabular_policy import token_log_probs
from align.losses.preference.config import PreferenceConfig
from align.losses.preference.evaluate import evaluate
from align.losses.preference.pairs import Completions, PreferencePairs


def preference_loss(
    logits_NxV: jax.Array, reference_NxV: jax.Array, rewards_S: np.ndarray, space: Space, config: PreferenceConfig
) -> jax.Array:
    """The mean loss over pairs drawn from the reference and labelled by the model of Bradley and Terry with these rewards.

    Args:
      logits_NxV: the tabular policy that is differentiated.
      reference_NxV: the reference, which also writes the pairs; pairs of equal completions carry no gradient and count all the same.
      rewards_S: true rewards r; P(y preferred to y') = sig(r(y) - r(y')).
      space: the completions.
      config: a loss that is a function of one pair (neither KTO, BCO nor AOT).
    """
    first, second = (index.ravel() for index in np.indices((len(space.completions),) * 2))
    mask_SxT = jnp.asarray(space.mask_SxT)
    policy_SxT, reference_SxT = token_log_probs(logits_NxV, space), token_log_probs(reference_NxV, space)

    def side(rows: np.ndarray) -> Completions:
        return Completions(policy_SxT[rows], mask_SxT[rows], reference_SxT[rows])

    losses = evaluate(PreferencePairs(side(first), side(second)), config).losses
    probs_S = jnp.exp(jnp.sum(reference_SxT, axis=-1))
    rewards_S = jnp.asarray(rewards_S, probs_S.dtype)
    preferred = jax.nn.sigmoid(rewards_S[first] - rewards_S[second])
    # Either of two drawn completions may be the preferred one, and the sum has each ordered pair once.
    return 2 * jnp.sum(jax.lax.stop_gradient(probs_S[first] * probs_S[second] * preferred) * losses)
