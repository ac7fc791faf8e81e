"""Compute-optimal N, D and loss for a budget, from the parametric law.

With C = 6·N·D the optimum is closed (Hoffmann et al. 2022, eq. 4): N = G·(C/6)^(beta/(alpha+beta)), D = (C/6)/N. Under
another FLOP convention the cost of a token is read from the runs as a function of N, and the optimum is searched along
C = cost(N)·D.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws import parametric
from analysis.laws.result import Estimate, Result, estimate
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

_SEARCH_POINTS = 241
_EXACT = 1e-6


@dataclasses.dataclass(frozen=True)
class Cost:
    """ln(FLOPs per token) as a function of ln N: straight lines between the sizes of a table, continued beyond them.

    Attributes:
      log_params: ln N of the sizes, ascending, float64[S].
      log_flops_per_token: ln(C/D) there, float64[S].
      six_n: whether it is 6·N throughout.
    """

    log_params: FloatArray
    log_flops_per_token: FloatArray
    six_n: bool

    def __call__(self, log_params: FloatArray) -> FloatArray:
        """ln(C/D) at ln N."""
        if self.six_n:
            return np.log(6.0) + log_params
        x, y = self.log_params, self.log_flops_per_token
        inside = np.interp(log_params, x, y)
        below = y[0] + (log_params - x[0]) * (y[1] - y[0]) / (x[1] - x[0])
        above = y[-1] + (log_params - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
        return np.where(log_params < x[0], below, np.where(log_params > x[-1], above, inside))


SIX_N = Cost(np.zeros(0), np.zeros(0), True)


def cost_of(table: RunsTable) -> Cost:
    """The cost of a token under the table's FLOP convention."""
    log_params, log_cost = table.log("params"), table.log("flops") - table.log("tokens")
    if np.max(np.abs(log_cost - log_params - np.log(6.0))) < _EXACT:
        return SIX_N
    size_K = grouped(log_params, 0.02)
    counts = np.bincount(size_K)
    return Cost(np.bincount(size_K, log_params) / counts, np.bincount(size_K, log_cost) / counts, False)


@dataclasses.dataclass(frozen=True)
class Optima:
    """ln N, ln D and ln L at the optimum of every replicate, float64[R]."""

    log_params: FloatArray
    log_tokens: FloatArray
    log_loss: FloatArray


def optimum(theta_RxP: FloatArray, log_flops: float, cost: Cost = SIX_N) -> Optima:
    """The compute-optimal point of every row of parameters of the parametric law."""
    alpha, beta = theta_RxP[:, 3], theta_RxP[:, 4]
    n_R = parametric.log_g(theta_RxP) + (log_flops - np.log(6.0)) * beta / (alpha + beta)
    if not cost.six_n:
        n_R = _searched(theta_RxP, log_flops, cost, n_R)
    d_R = log_flops - cost(n_R)
    return Optima(n_R, d_R, _log_loss(theta_RxP, n_R, d_R))


def _log_loss(theta_RxP: FloatArray, n_R: FloatArray, d_R: FloatArray) -> FloatArray:
    log_a, log_b, log_e, alpha, beta = theta_RxP.T
    return np.logaddexp(np.logaddexp(log_a - alpha * n_R, log_b - beta * d_R), log_e)


def _searched(theta_RxP: FloatArray, log_flops: float, cost: Cost, around_R: FloatArray) -> FloatArray:
    """Two nested grids of ln N around the closed-form optimum: the second resolves 1e-3."""
    centre_R, width = around_R, 6.0
    for _ in range(2):
        grid_RxQ = centre_R[:, None] + np.linspace(-width, width, _SEARCH_POINTS)
        columns = [theta_RxP[:, index, None] for index in range(5)]
        log_a, log_b, log_e, alpha, beta = columns
        tokens_RxQ = log_flops - cost(grid_RxQ)
        loss_RxQ = np.exp(log_a - alpha * grid_RxQ) + np.exp(log_b - beta * tokens_RxQ) + np.exp(log_e)
        centre_R = grid_RxQ[np.arange(len(grid_RxQ)), np.argmin(loss_RxQ, axis=1)]
        width /= 50
    return centre_R


@dataclasses.dataclass(frozen=True)
class ComputeOptimal:
    """The best use of a budget.

    Attributes:
      flops: the budget, under the table's FLOP convention.
      params: N.
      tokens: D.
      loss: nats per token.
      beyond: budget over the largest compute in the fit.
    """

    flops: float
    params: Estimate
    tokens: Estimate
    loss: Estimate
    beyond: float

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json."""
        return {
            "flops": self.flops, "params": self.params.to_json(), "tokens": self.tokens.to_json(), "loss": self.loss.to_json(),
            "times_largest_compute_fitted": self.beyond,
        }  # fmt: skip


def allocate(law: Result, table: RunsTable, budgets: tuple[float, ...]) -> list[ComputeOptimal]:
    """Compute-optimal N, D and loss of every budget, with intervals from the law's replicates.

    Args:
      law: a Result of :mod:`analysis.laws.parametric`.
      table: the runs it was fitted to, for the cost of a token and the reach of the data.
      budgets: FLOPs.
    """
    cost, largest = cost_of(table), float(table.frame["flops"].max())
    theta = np.concatenate([law.theta[None], law.replicates])
    method = next(iter(law.parameters.values())).method
    found = []
    for flops in budgets:
        at = optimum(theta, float(np.log(flops)), cost)
        values = [np.exp(item) for item in (at.log_params, at.log_tokens, at.log_loss)]
        found.append(
            ComputeOptimal(
                flops, *(estimate(item[0], item[1:], law.level, method) for item in values), beyond=flops / largest
            )
        )
    return found


@dataclasses.dataclass(frozen=True)
class Exponents:
    """N_opt ∝ C^a and D_opt ∝ C^b between two computes.

    Attributes:
      a: of N_opt.
      b: of D_opt.
      low_flops, high_flops: where they were read, or where the points lie that they were fitted to.
    """

    a: Estimate
    b: Estimate
    low_flops: float
    high_flops: float

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        return {"a": self.a.to_json(), "b": self.b.to_json(), "flops": [self.low_flops, self.high_flops]}


def exponents(law: Result, table: RunsTable) -> Exponents:
    """Mean slopes of ln N_opt and ln D_opt over ln C from the cheapest to the dearest run, under the table's FLOP convention.

    With C = 6·N·D they are the law's own a and b, the same at every compute (eq. 4). Where a token costs otherwise the frontier
    is no straight line, so its slope belongs to this range.
    """
    log_flops, cost = table.log("flops"), cost_of(table)
    theta = np.concatenate([law.theta[None], law.replicates])
    low, high = (optimum(theta, float(bound), cost) for bound in (log_flops.min(), log_flops.max()))
    span, method = float(np.ptp(log_flops)), next(iter(law.parameters.values())).method
    slopes = [(getattr(high, name) - getattr(low, name)) / span for name in ("log_params", "log_tokens")]
    a, b = (estimate(slope[0], slope[1:], law.level, method) for slope in slopes)
    return Exponents(a, b, float(table.frame["flops"].min()), float(table.frame["flops"].max()))
