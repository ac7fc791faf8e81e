"""The comparison of planners: fair to all methods, and won by the planner on known laws."""

import numpy as np
import pytest

from analysis.laws.planning import comparison, pools

GRIDS = {grid.name: grid for grid in pools.GRIDS}


def test_grids_are_exact_and_pools_reach_below_their_target():
    """A grid's losses are those of its law, and no run on offer spends more than a tenth of the target."""
    for grid in pools.GRIDS:
        pool = pools.grid_pool(grid)
        e, a, b, alpha, beta = grid.law
        n, d = np.exp(pool.log_params), np.exp(pool.log_tokens)
        assert np.exp(pool.log_loss) == pytest.approx(e + a / n**alpha + b / d**beta, rel=1e-12), grid.name
        assert pool.log_flops.max() + np.log(10.0) == pytest.approx(pool.decision.log_flops)


def test_first_runs_are_six_cheap_ones():
    """Distinct, within their budget, and different from repetition to repetition."""
    pool = pools.grid_pool(GRIDS["gemstones"])
    budget = 0.02 * pool.cost.sum()
    found = [comparison.first_runs(pool, budget, np.random.default_rng(seed)) for seed in range(5)]
    assert all(len(set(some)) == 6 and pool.cost[some].sum() <= budget for some in found)
    assert len({tuple(sorted(some)) for some in found}) > 1


@pytest.mark.slow
def test_the_planner_beats_random_and_cheapest_first():
    """At a tenth of the cost, on three known laws with three seeds each: a lower mean squared error of ln N_opt and a lower regret."""
    chosen = [pools.grid_pool(GRIDS[name]) for name in ("chinchilla, refitted", "no floor in reach", "noisy")]
    found = [
        comparison.replay(pool, method, repetition)
        for pool in chosen
        for method in ("planner", "random", "cheapest first")
        for repetition in range(3)
    ]
    table = comparison.table_of(found)
    for measure in ("error", "regret"):
        mean = np.log(table[measure].clip(lower=1e-6).unstack("method")).mean()
        assert mean["planner"] < mean[["random", "cheapest first"]].min() - np.log(1.2), measure
