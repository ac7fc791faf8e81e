"""The methods that are compared: each looks at what it has bought so far and names the runs that it buys next."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import solve
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.planning import acquisition, designs
from analysis.laws.planning.decision import Decision
from analysis.laws.planning.pools import Pool
from analysis.laws.planning.posterior import Posterior

FloatArray = npt.NDArray[np.float64]
Indices = list[int]

# Runs that are made side by side before the next look.
ROUND = 3
# Where a V-optimal design is to predict: the target's choices within a factor of four of the present optimum.
_REGION = np.log(4.0)
_WEAK = 1e-4


@dataclasses.dataclass(frozen=True)
class State:
    """What a method knows when it chooses.

    Attributes:
      pool: the runs on offer; a method may not look at losses that it did not buy.
      decision: what the runs are for.
      bought: those made so far.
      left: of the budget.
      posterior: given their losses.
      rng: the method's own.
    """

    pool: Pool
    decision: Decision
    bought: Indices
    left: float
    posterior: Posterior
    rng: np.random.Generator

    @property
    def free(self) -> npt.NDArray[np.int64]:
        """Runs that were not bought."""
        return np.setdiff1d(np.arange(len(self.pool.cost)), self.bought)


Method = Callable[[State], Indices]


def planner(state: State) -> Indices:
    """Expected reduction of regret per cost (:mod:`analysis.laws.planning.acquisition`)."""
    free, pool = state.free, state.pool
    seen = acquisition.outlook(state.posterior, state.decision, pool.log_params[free], pool.log_tokens[free])
    return [int(free[item.candidate]) for item in acquisition.choose(seen, pool.cost[free], state.left)[:ROUND]]


def v_optimal(state: State) -> Indices:
    """Least mean variance of the loss around the present optimum at the target, within the budget, at the present mean of the law."""
    free, pool, decision = state.free, state.pool, state.decision
    centre = decision.log_params[decision.best(state.posterior)[0]]
    region = np.abs(decision.log_params - centre) < _REGION
    theta = state.posterior.theta.mean(axis=0)

    def rows(log_n: FloatArray, log_d: FloatArray) -> FloatArray:
        return solve.jacobian(FORM, theta, np.stack([log_n, log_d], axis=1)).T

    known = rows(pool.log_params[state.bought], pool.log_tokens[state.bought])
    chosen = designs.v_optimal(
        rows(pool.log_params[free], pool.log_tokens[free]), rows(decision.log_params[region], decision.log_tokens[region]),
        known.T @ known + _WEAK * np.eye(len(theta)), pool.cost[free], state.left,
    )  # fmt: skip
    # The rest is designed anew when these are known.
    return free[sorted(chosen, key=lambda j: pool.cost[free[j]])[:ROUND]].tolist()


def random_runs(state: State) -> Indices:
    """Whatever comes, as long as it can be paid."""
    free = state.free
    return free[designs.random_runs(state.pool.cost[free], state.left, state.rng)].tolist()


def cheapest_first(state: State) -> Indices:
    """As many runs as possible."""
    free = state.free
    return free[designs.cheapest_first(state.pool.cost[free], state.left)].tolist()


def isoflop(state: State) -> Indices:
    """Slices of equal compute."""
    free, pool = state.free, state.pool
    chosen = designs.isoflop(pool.log_params[free], pool.log_flops[free], pool.cost[free], state.left)
    return free[chosen].tolist()


METHODS: dict[str, Method] = {
    "planner": planner, "random": random_runs, "cheapest first": cheapest_first, "V-optimal": v_optimal, "IsoFLOP grid": isoflop,
}  # fmt: skip
