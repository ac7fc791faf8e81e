"""The value of runs: zero regret at the optimum, little for what is known, never more than the budget, and exact where it can be checked."""

import numpy as np
import pytest

from analysis.laws.forms.chinchilla import FORM
from analysis.laws.forms.form import evaluate
from analysis.laws.optima import optimal
from analysis.laws.planning import acquisition
from analysis.laws.planning.decision import decision_at
from analysis.laws.planning.posterior import Posterior, posterior

THETA = np.array([np.log(406.4), np.log(1500.0), np.log(1.8), 0.34, 0.36])
NOISE = 0.005


@pytest.fixture(scope="module")
def known():
    """A posterior from nine cheap runs, and a decision three decades above them."""
    rng = np.random.default_rng(0)
    log_n, log_d = (axis.ravel() for axis in np.meshgrid(np.log([1e7, 4e7, 1.6e8]), np.log([5e8, 2e9, 8e9])))
    log_l = evaluate(FORM, THETA[None], np.stack([log_n, log_d], axis=1))[0] + NOISE * rng.standard_normal(9)
    return log_n, log_d, posterior(log_n, log_d, log_l, rng, draws=400), decision_at(1e22)


def test_the_optimum_has_no_regret_and_its_neighbours_have():
    """For one law the choice of least regret is its optimum in closed form, to the spacing of the choices."""
    one, decision = Posterior(THETA[None], np.array([NOISE])), decision_at(1e22)
    best, regret = decision.best(one)
    exact = optimal.optimum(THETA[None], decision.log_flops).log_params[0]
    assert regret == 0.0
    assert abs(decision.log_params[best] - exact) <= np.diff(decision.log_params)[0]
    assert decision.regret(one)[0, [best - 10, best + 10]].min() > 1e-4


def test_the_decision_spends_its_budget():
    """D is what the budget buys: C = 6ND at every choice, between 0.1 and 10,000 tokens per parameter."""
    decision = decision_at(1e22)
    assert np.log(6.0) + decision.log_params + decision.log_tokens == pytest.approx(np.log(1e22))
    ratio = np.exp(decision.log_tokens - decision.log_params)
    assert ratio[[0, -1]] == pytest.approx([1e4, 0.1], rel=1e-6)


def test_a_run_that_repeats_what_is_known_adds_little(known):
    """A second run in the middle of the nine against a small model on many tokens and a large one on few."""
    _, _, found, decision = known
    candidates = np.log([[4e7, 2e9], [1e7, 1e11], [2e9, 5e8]])
    seen = acquisition.outlook(found, decision, *candidates.T)
    repeated, *fresh = (1 - seen.share_left([j]) for j in range(3))
    assert max(fresh) > 0.05 and repeated < 0.1 * max(fresh)


def test_expected_regret_is_the_conditional_variance_of_the_slope(known):
    """The share that is left equals the textbook formula for normal variables, from the draws' own covariances."""
    _, _, found, decision = known
    log_n, log_d = np.log([2e8, 8e8, 3e7]), np.log([1e10, 4e9, 6e10])
    seen = acquisition.outlook(found, decision, log_n, log_d)
    best, _ = decision.best(found)
    loss = np.exp(found.log_loss(decision.log_params, decision.log_tokens))
    slope = loss[:, best + 3] - loss[:, best - 3]
    joint = np.cov(np.column_stack([slope, found.log_loss(log_n, log_d)]).T, bias=True)
    noise = found.typical_noise * decision.spread(np.log(6.0) + log_n + log_d)
    inner = joint[1:, 1:] + np.diag(noise**2)
    expected = 1 - joint[0, 1:] @ np.linalg.solve(inner, joint[1:, 0]) / joint[0, 0]
    assert seen.share_left([0, 1, 2]) == pytest.approx(expected, rel=1e-6)


def test_choices_keep_the_budget_and_lower_the_regret(known):
    """In order of cost, each run lowering what those before it left."""
    _, _, found, decision = known
    log_n, log_d = (
        axis.ravel() for axis in np.meshgrid(np.log(np.geomspace(1e7, 2e9, 8)), np.log(np.geomspace(5e8, 1e11, 8)))
    )
    cost = np.exp(log_n + log_d)
    budget = 0.05 * cost.sum()
    chosen = acquisition.choose(acquisition.outlook(found, decision, log_n, log_d), cost, budget)
    assert chosen and sum(item.cost for item in chosen) <= budget
    assert all(later.cost >= sooner.cost for sooner, later in zip(chosen, chosen[1:], strict=False))
    assert all(item.after < item.before for item in chosen)
    assert [item.after for item in chosen[:-1]] == [item.before for item in chosen[1:]]
