"""Random preference pairs of several lengths, with junk outside the completions, for the tests of losses."""

import numpy as np

from align.losses.preference.pairs import Completions, PreferencePairs

WIDTH = 9


def completions(rng: np.random.Generator, pairs: int, width: int = WIDTH, scale: float = 1.0) -> Completions:
    """Rows of prompt, completion and padding; log-probabilities elsewhere are junk that must never be read."""
    lengths = rng.integers(1, width - 2, pairs)
    starts = 1 + rng.integers(0, width - 1 - lengths)
    index = np.arange(width)[None, :]
    mask = (index >= starts[:, None]) & (index < (starts + lengths)[:, None])
    policy, reference = (-scale * rng.exponential(1.0, (pairs, width)) for _ in range(2))
    alignment = -rng.exponential(0.5, (pairs, width))
    for array in (policy, reference, alignment):
        array[~mask] = np.nan
    return Completions(policy, mask.astype(np.int32), reference, alignment)


def preference_pairs(seed: int = 0, pairs: int = 6, **options) -> PreferencePairs:
    """Both sides, with mismatched completions for KTO; NumPy float64."""
    rng = np.random.default_rng(seed)
    chosen, rejected, mismatched = (completions(rng, pairs, width, **options) for width in (WIDTH, WIDTH + 2, WIDTH))
    return PreferencePairs(chosen, rejected, None, mismatched)


def with_sums(chosen, rejected, reference=None) -> PreferencePairs:
    """Completions of one token, so that log-probabilities are what a test wants."""
    ones = np.ones((len(chosen), 1), np.int32)
    zeros = np.zeros(len(chosen), np.asarray(chosen).dtype) if reference is None else reference

    def side(sums):
        return Completions(np.asarray(sums)[:, None], ones, zeros[:, None])

    return PreferencePairs(side(chosen), side(rejected), None, side(chosen))
