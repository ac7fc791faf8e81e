"""Designs: optimal on cases small enough to try everything, and within their budget."""

import itertools

import numpy as np
import pytest

from analysis.laws.planning import designs


def case(seed, count=9):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 3)), rng.standard_normal((5, 3)), 0.1 * np.eye(3), rng.uniform(1, 3, count)


def subsets(cost, budget):
    for size in range(len(cost) + 1):
        yield from (
            list(some) for some in itertools.combinations(range(len(cost)), size) if cost[list(some)].sum() <= budget
        )


@pytest.mark.parametrize("seed", range(6))
def test_v_optimal_is_the_best_of_all_designs_of_equal_cost(seed):
    """Equal costs, three of nine runs: the design has the least mean variance of all 84, found by trying them."""
    x, region, prior, _ = case(seed)
    cost = np.ones(len(x))
    best = min(designs.average_variance(x[some], region, prior) for some in subsets(cost, 3.0))
    found = designs.v_optimal(x, region, prior, cost, 3.0, restarts=10)
    assert designs.average_variance(x[found], region, prior) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_d_optimal_is_the_best_of_all_designs_of_equal_cost(seed):
    """The same of ln det of the information."""
    x, _, prior, _ = case(seed)
    cost = np.ones(len(x))

    def criterion(some):
        return np.linalg.slogdet(x[some].T @ x[some] + prior)[1]

    found = designs.d_optimal(x, prior, cost, 3.0, restarts=10)
    assert criterion(found) == pytest.approx(max(criterion(some) for some in subsets(cost, 3.0)), rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_unequal_costs_come_close_to_the_best_and_keep_the_budget(seed):
    """Greedy with exchanges is no exhaustive search: within a third of the best mean variance that the budget affords."""
    x, region, prior, cost = case(seed)
    best = min(designs.average_variance(x[some], region, prior) for some in subsets(cost, 6.0))
    found = designs.v_optimal(x, region, prior, cost, 6.0)
    assert cost[found].sum() <= 6.0
    assert designs.average_variance(x[found], region, prior) <= best * 4 / 3


def test_every_design_keeps_its_budget_and_repeats_nothing():
    """On a grid of sizes and computes, whatever the budget."""
    rng = np.random.default_rng(0)
    log_n, log_c = (axis.ravel() for axis in np.meshgrid(np.linspace(16, 22, 9), np.log(np.geomspace(1e17, 1e20, 6))))
    cost = np.exp(log_c)
    for share in (0.01, 0.1, 0.5):
        budget = share * cost.sum()
        found = {
            "isoflop": designs.isoflop(log_n, log_c, cost, budget),
            "cheapest": designs.cheapest_first(cost, budget),
            "random": designs.random_runs(cost, budget, rng),
        }
        for name, chosen in found.items():
            assert chosen and len(set(chosen)) == len(chosen), name
            assert cost[chosen].sum() <= budget * (1 + 1e-12), name


def test_an_isoflop_grid_has_slices():
    """Three levels of compute, each with five sizes, when the budget affords them."""
    log_n, log_c = (axis.ravel() for axis in np.meshgrid(np.linspace(16, 22, 9), np.log(1e17 * 4.0 ** np.arange(5))))
    cost = np.exp(log_c)
    chosen = designs.isoflop(log_n, log_c, cost, 0.5 * cost.sum())[:15]
    levels, sizes = np.unique(log_c[chosen].round(6), return_counts=True)
    assert len(levels) == 3 and (sizes == 5).all()
