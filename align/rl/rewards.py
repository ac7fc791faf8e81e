"""Rewards of tokens: a penalty for leaving the reference at each, and the score of the whole completion at its end."""

from typing import Literal

import jax
import jax.numpy as jnp

ScorePosition = Literal["last_token", "first_padding"]
EosPenalty = Literal["subtract", "replace"]


def token_rewards(
    scores_B: jax.Array,
    token_kl_BxT: jax.Array,
    mask_BxT: jax.Array,
    beta: jax.Array | float,
    score_at: ScorePosition = "last_token",
) -> jax.Array:
    """R_t = -beta k_t, plus the score at the end: float [B, T] (Ziegler et al. 2019, eq. 2, spread over tokens).

    Args:
      scores_B: rewards of whole completions, of any type; they are computed with in the type of `token_kl_BxT`, so fractions survive.
      token_kl_BxT: KL estimates per token; zeros where the penalty is in the loss instead, so that it is not counted twice.
      mask_BxT: not 0 at the completion's tokens.
      beta: the penalty's coefficient.
      score_at: "last_token" of the completion (its EOS where it has one), or "first_padding" after it, as some libraries have it: a completion that fills the
        row has none and gets it at its last token. Estimators must then be given :func:`scored_mask`.
    """
    penalties_BxT = jnp.where(mask_BxT.astype(bool), -beta * token_kl_BxT, 0)
    at_score_BxT = jnp.arange(mask_BxT.shape[1])[None, :] == score_indices(mask_BxT, score_at)[:, None]
    has_tokens_Bx1 = jnp.any(mask_BxT.astype(bool), axis=-1)[:, None]
    scores_Bx1 = scores_B.astype(token_kl_BxT.dtype)[:, None]
    return penalties_BxT + jnp.where(at_score_BxT & has_tokens_Bx1, scores_Bx1, 0)


def score_indices(mask_BxT: jax.Array, score_at: ScorePosition = "last_token") -> jax.Array:
    """int [B]: where the score stands."""
    length = mask_BxT.shape[1]
    last_B = length - 1 - jnp.argmax(mask_BxT.astype(bool)[:, ::-1], axis=-1)
    return last_B if score_at == "last_token" else jnp.minimum(last_B + 1, length - 1)


def scored_mask(mask_BxT: jax.Array, score_at: ScorePosition = "last_token") -> jax.Array:
    """bool [B, T]: the completion's tokens and the place of the score."""
    at_score_BxT = jnp.arange(mask_BxT.shape[1])[None, :] == score_indices(mask_BxT, score_at)[:, None]
    return mask_BxT.astype(bool) | (at_score_BxT & jnp.any(mask_BxT.astype(bool), axis=-1)[:, None])


def penalise_missing_eos(
    scores_B: jax.Array, ended_B: jax.Array, penalty: float, how: EosPenalty = "subtract"
) -> jax.Array:
    """float [B]: scores, less for completions that did not end.

    Args:
      scores_B: rewards of whole completions.
      ended_B: not 0 where sampling ended by EOS or by a stop sequence, as the sampler itself says; never judged by ids here.
      penalty: "subtract" takes it from the score (TRL); "replace" makes its negative the score (Huang et al. 2024, arXiv:2403.17031: a fixed low reward).
      how: see `penalty`.
    """
    scores_B = scores_B.astype(jnp.result_type(scores_B.dtype, jnp.float32))
    penalised_B = scores_B - penalty if how == "subtract" else jnp.full_like(scores_B, -penalty)
    return jnp.where(ended_B.astype(bool), scores_B, penalised_B)
