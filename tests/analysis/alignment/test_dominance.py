"""Comparisons of methods: their level under no difference, their power, and what they say of crossing curves."""

import numpy as np
import pytest

from analysis.alignment import dominance
from tests.analysis.alignment.test_frontier import table

DISTANCES = np.linspace(0.0, 3.0, 6)


def study(rng, seeds=4, difference=lambda d: 0.0 * d, own=0.15, noise=0.05):
    """Two methods whose seeds share an effect (same data order), with their own besides."""
    rows = []
    for seed in range(seeds):
        shared = 0.3 * rng.standard_normal()
        for name, extra in (("a", difference), ("b", lambda d: 0.0 * d)):
            effect = shared + own * rng.standard_normal()
            rows += [
                (name, "", seed, d, d * (1 + effect) + extra(d) + (noise * rng.standard_normal() if d else 0.0))
                for d in DISTANCES
            ]
    return table(rows)


def compared(frame):
    return dominance.adjusted([dominance.of_panel(frame, 0.9)])[0][0]


@pytest.mark.slow
def test_without_a_difference_the_tests_reject_at_their_level():
    """400 studies of four seeds. The mean's test at 10% rejects about 10% of them, that of dominance (a stricter claim) fewer."""
    rng = np.random.default_rng(0)
    found = [compared(study(rng)) for _ in range(400)]
    assert 0.07 <= np.mean([item.p_mean < 0.1 for item in found]) <= 0.135
    assert np.mean([item.p_dominance < 0.05 for item in found]) <= 0.08
    held = np.mean([item.mean.interval[0] <= 0 for item in found])
    assert 0.86 <= held <= 0.935  # the larger mean stands first, so every miss is one of the lower end


def test_a_method_that_is_better_everywhere_dominates():
    found = compared(study(np.random.default_rng(1), difference=lambda d: 1.5 * d))
    assert (found.first, found.verdict, found.errors, found.seeds) == ("a", "a dominates", "paired seeds", 4)
    assert found.kl_range == pytest.approx((0.36, 9.0)) and found.mean.interval[0] > 0


def test_curves_that_cross_are_better_on_average_at_most():
    found = compared(study(np.random.default_rng(2), seeds=6, difference=lambda d: 3.0 * d * (d - 1.0)))
    assert found.verdict == "a is better on average" and found.p_dominance > 0.5


def test_p_values_are_adjusted_over_all_panels():
    rng = np.random.default_rng(3)
    panels = [dominance.of_panel(study(rng, difference=lambda d: 0.5 * d), 0.9) for _ in range(3)]
    alone = [item.p_mean for panel in panels for item in panel]
    together = [item.adjusted_mean for panel in dominance.adjusted(panels) for item in panel]
    assert min(together) == pytest.approx(3 * min(alone)) and all(b >= a for a, b in zip(alone, together, strict=True))


def test_one_seed_falls_back_on_errors_over_prompts():
    found = compared(study(np.random.default_rng(4), seeds=1, difference=lambda d: 2.0 * d))
    assert found.errors == "prompts" and found.seeds == 0 and found.p_mean < 1e-6
    unknown = compared(study(np.random.default_rng(4), seeds=1, difference=lambda d: 2.0 * d).assign(gold_error=np.nan))
    assert np.isnan(unknown.p_mean) and unknown.verdict == "not told apart" and unknown.to_json()["p_mean"] is None


def test_seeds_that_differ_are_compared_unpaired():
    frame = study(np.random.default_rng(5), difference=lambda d: 2.0 * d)
    frame.loc[frame["method"] == "a", "seed"] += 100
    assert compared(frame).errors == "unpaired seeds" and compared(frame).p_mean < 0.05
