"""The next runs for a target, in order, with what they cost here and what they are expected to settle."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.errors import TableError
from analysis.laws.optima import optimal
from analysis.laws.planning import acquisition
from analysis.laws.planning.candidates import Candidates
from analysis.laws.planning.decision import Decision, decision_at
from analysis.laws.planning.posterior import Posterior, posterior
from analysis.laws.planning.run_cost import RunCost
from analysis.laws.result import Estimate, estimate, finite
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

SCHEMA_VERSION = 1
_SAME_RUN = 0.01
_METHOD = "quantiles of the posterior"


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What the records say about the decision.

    Attributes:
      table: the records.
      posterior: of the law.
      decision: the choice of N at the target.
      price: of a run.
    """

    table: RunsTable
    posterior: Posterior
    decision: Decision
    price: RunCost

    @property
    def optimum(self) -> tuple[Estimate, Estimate]:
        """N and the loss of the present choice, with intervals: of N_opt, and of the loss there."""
        best, _ = self.decision.best(self.posterior)
        regret_SxQ = self.decision.regret(self.posterior)
        params = np.exp(self.decision.log_params)
        at = slice(best, best + 1)
        loss_S = np.exp(self.posterior.log_loss(self.decision.log_params[at], self.decision.log_tokens[at])[:, 0])
        return (
            estimate(float(params[best]), params[regret_SxQ.argmin(axis=1)], 0.9, _METHOD),
            estimate(float(loss_S.mean()), loss_S, 0.9, _METHOD),
        )


def learn(table: RunsTable, target_flops: float, price: RunCost, seed: int = 0, draws: int = 1024) -> Knowledge:
    """Takes stock of the records.

    Args:
      table: the records.
      target_flops: C at which N is to be chosen, by the table's convention.
      price: of a run.
      seed: of the draws.
      draws: of the posterior.

    Raises:
      TableError: the target lies below every run of the table.
    """
    if target_flops < table.frame["flops"].min():
        raise TableError(
            f"the target of {target_flops:.3g} FLOPs is below every run of {table.source or 'the table'}",
            "give --target_flops by the table's convention, in FLOPs",
        )
    decision = decision_at(target_flops, optimal.cost_of(table))
    found = posterior(
        table.log("params"), table.log("tokens"), table.log("loss"), np.random.default_rng(seed), draws,
        decision.spread(table.log("flops")),
    )  # fmt: skip
    return Knowledge(table, found, decision, price)


@dataclasses.dataclass(frozen=True)
class ProposedRun:
    """A run that is proposed.

    Attributes:
      name: that of the candidate; empty without one.
      params, tokens, flops: N, D, and C by the table's convention.
      cost: in the unit of the price.
      before, after: expected regret at the target without and with it, given those above it, nats per token.
      decides: in words.
    """

    name: str
    params: float
    tokens: float
    flops: float
    cost: float
    before: float
    after: float
    decides: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """Proposed runs and what they rest on.

    Attributes:
      knowledge: from the records.
      budget: in the unit of the price.
      runs: in the order in which to make them.
      considered: candidates that there were.
    """

    knowledge: Knowledge
    budget: float
    runs: list[ProposedRun]
    considered: int

    @property
    def regret(self) -> tuple[float, float]:
        """Expected regret at the target now and after all runs, nats per token."""
        now = self.knowledge.decision.best(self.knowledge.posterior)[1]
        return now, self.runs[-1].after if self.runs else now

    def to_json(self) -> dict[str, Any]:
        """plan.json: JSON numbers or null, never NaN."""
        price, table = self.knowledge.price, self.knowledge.table
        params, loss = self.knowledge.optimum
        now, then = self.regret
        return {
            "schema_version": SCHEMA_VERSION, "source": table.source, "conventions": dataclasses.asdict(table.conventions),
            "target": {
                "flops": float(np.exp(self.knowledge.decision.log_flops)), "params": params.to_json(), "loss": loss.to_json(),
                "expected_regret": {"now": finite(now), "after": finite(then)},
            },
            "price": {
                "unit": price.unit, "overhead": finite(price.overhead), "scale": finite(float(np.exp(price.log_scale))),
                "exponent": finite(price.exponent), "misfit": finite(price.misfit), "runs": price.runs, "explanation": price.in_words(),
            },
            "budget": finite(self.budget), "considered": self.considered, "runs": [dataclasses.asdict(run) for run in self.runs],
        }  # fmt: skip


def propose(knowledge: Knowledge, candidates: Candidates, budget: float) -> Plan:
    """Chooses among candidates by the expected reduction of regret at the target per cost.

    Args:
      knowledge: from the records.
      candidates: runs that could be made.
      budget: in the unit of the price.
    """
    seen = acquisition.outlook(knowledge.posterior, knowledge.decision, candidates.log_params, candidates.log_tokens)
    runs = [_proposed(knowledge, candidates, choice) for choice in acquisition.choose(seen, candidates.cost, budget)]
    return Plan(knowledge, budget, runs, len(candidates.cost))


def _proposed(knowledge: Knowledge, candidates: Candidates, choice: acquisition.Choice) -> ProposedRun:
    n, d = candidates.log_params[choice.candidate], candidates.log_tokens[choice.candidate]
    flops = float(np.exp(knowledge.decision.log_cost(np.array([n]))[0] + d))
    return ProposedRun(
        candidates.name[choice.candidate], round(float(np.exp(n))), round(float(np.exp(d))), flops, choice.cost, choice.before, choice.after,
        _decides(knowledge, float(n), float(d)),
    )  # fmt: skip


def _decides(knowledge: Knowledge, log_n: float, log_d: float) -> str:
    """What a run settles: the side of the decision that it sees better, and how far it reaches."""
    table = knowledge.table
    n_K, d_K = table.log("params"), table.log("tokens")
    if np.any((np.abs(n_K - log_n) < _SAME_RUN) & (np.abs(d_K - log_d) < _SAME_RUN)):
        return "repeats a run with another seed: its noise"
    open_term = _open_term(knowledge, log_n, log_d)
    beyond = [
        name
        for name, far in (("size", log_n > n_K.max() + _SAME_RUN), ("tokens", log_d > d_K.max() + _SAME_RUN))
        if far
    ]
    return open_term + (f"; beyond the records in {' and '.join(beyond)}" if beyond else "")


def _open_term(knowledge: Knowledge, log_n: float, log_d: float) -> str:
    """At the best N the loss falls as fast with N as it rises for want of D; which of the two does a run there say more of?"""
    decision, theta = knowledge.decision, knowledge.posterior.theta
    best, _ = decision.best(knowledge.posterior)
    log_a, log_b, _, alpha, beta = theta.T
    sides = {
        "how the loss falls with N": alpha * np.exp(log_a - alpha * decision.log_params[best]),
        "how the loss falls with D": beta * np.exp(log_b - beta * decision.log_tokens[best]),
    }
    loss_S = knowledge.posterior.log_loss(np.array([log_n]), np.array([log_d]))[:, 0]
    seen = {name: abs(float(np.corrcoef(loss_S, side_S)[0, 1])) for name, side_S in sides.items()}
    return max(seen, key=seen.__getitem__)
