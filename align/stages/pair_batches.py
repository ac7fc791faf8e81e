"""Batches of preference pairs as a compiled step reads them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from align.sequences import Pairs, Sequences


class PairBatch(NamedTuple):
    """What a step reads.

    Attributes:
      pairs: [B, T] sequences of both sides.
      mismatched: [2 B, T], completions of other prompts, or None.
      reference: float32 [2 B, T], cached log-probabilities of the reference, or None.
      probability: float32 [B], soft labels: how probable it is that the first side is preferred; None where labels are certain.
    """

    pairs: Pairs
    mismatched: Sequences | None = None
    reference: jax.Array | None = None
    probability: jax.Array | None = None


def by_pair(batch: PairBatch) -> dict[str, Any]:
    """The batch as a tree whose leaves all begin with the axis of pairs, so that it can be cut: what has 2 B rows becomes [B, 2, ...]."""

    def paired(array):
        return jnp.swapaxes(array.reshape(2, -1, *array.shape[1:]), 0, 1)

    return {
        "pairs": batch.pairs,
        "mismatched": None if batch.mismatched is None else jax.tree.map(paired, batch.mismatched),
        "reference": None if batch.reference is None else paired(batch.reference),
        "probability": batch.probability,
    }


def answers_of(pairs: Pairs, mismatched: Sequences | None = None) -> Sequences:
    """Everything that answers one prompt, leaves [B, K, ...]: chosen, rejected and, where there are any, [B, 2] mismatched completions."""
    both = jax.tree.map(lambda *sides: jnp.stack(sides, axis=1), *pairs)
    if mismatched is None:
        return both
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), both, mismatched)


def by_row(array_BxK: jax.Array) -> jax.Array:
    """[B K, ...]."""
    return array_BxK.reshape(-1, *array_BxK.shape[2:])
