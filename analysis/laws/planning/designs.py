"""Designs that planners are held against: V- and D-optimal ones, IsoFLOP grids, the cheapest runs, random runs.

The first two know the law only through its derivatives at one guess of its parameters (Chaloner and Verdinelli 1995, section 4:
local, Bayesian by a prior precision); none of them knows what a run may change in a decision.
"""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Indices = list[int]
# (covariance [P, P], derivatives [J, P]) -> what each run would add to the criterion, [J].
Gain = Callable[[FloatArray, FloatArray], FloatArray]
# A swap that gains less than this fraction is rounding.
_WORTHWHILE = 1e-9

_LEVEL_STEP = np.log(4.0)
_LEVELS = (3, 2, 1)
_SIZES_PER_LEVEL, _FEWEST_SIZES = 5, 3
# Candidates whose ln C differ by less lie on one level.
_SAME_LEVEL = 0.25


def average_variance(jacobian_KxP: FloatArray, region_QxP: FloatArray, precision_PxP: FloatArray) -> float:
    """V criterion: the mean variance of the law over a region, in units of a run's noise variance.

    Args:
      jacobian_KxP: derivatives of ln L in theta at the runs of the design.
      region_QxP: the same where predictions are wanted.
      precision_PxP: what is known before, in units of one over a run's noise variance.
    """
    information = jacobian_KxP.T @ jacobian_KxP + precision_PxP
    return float(np.mean(np.sum(region_QxP * np.linalg.solve(information, region_QxP.T).T, axis=1)))


def v_optimal(
    jacobian_JxP: FloatArray,
    region_QxP: FloatArray,
    precision_PxP: FloatArray,
    cost_J: FloatArray,
    budget: float,
    restarts: int = 0,
) -> Indices:
    """Runs of least mean variance over a region within a budget: greedily per cost, then by exchanges until none helps (Fedorov 1972).

    Args:
      jacobian_JxP: derivatives of ln L in theta at the candidates.
      region_QxP: the same where predictions are wanted.
      precision_PxP: what is known before, in units of one over a run's noise variance; positive definite.
      cost_J: of the candidates.
      budget: all chosen runs together cost at most this.
      restarts: random designs that are exchanged as well, against local optima.
    """
    spread_PxP = region_QxP.T @ region_QxP / len(region_QxP)

    def gain(covariance_PxP: FloatArray, x_JxP: FloatArray) -> FloatArray:
        """What one more run takes off the criterion (Sherman and Morrison 1950)."""
        moved = x_JxP @ covariance_PxP
        return np.sum((moved @ spread_PxP) * moved, axis=1) / (1 + np.sum(moved * x_JxP, axis=1))

    def criterion(information: FloatArray) -> float:
        return float(np.trace(np.linalg.solve(information, spread_PxP)))

    return _optimal(gain, criterion, jacobian_JxP, precision_PxP, cost_J, budget, restarts)


def d_optimal(
    jacobian_JxP: FloatArray, precision_PxP: FloatArray, cost_J: FloatArray, budget: float, restarts: int = 0
) -> Indices:
    """Runs of the largest information about all parameters, ln det, within a budget; arguments as for :func:`v_optimal`."""

    def gain(covariance_PxP: FloatArray, x_JxP: FloatArray) -> FloatArray:
        """What one more run adds to ln det."""
        return np.log1p(np.sum((x_JxP @ covariance_PxP) * x_JxP, axis=1))

    def criterion(information: FloatArray) -> float:
        return -float(np.linalg.slogdet(information)[1])

    return _optimal(gain, criterion, jacobian_JxP, precision_PxP, cost_J, budget, restarts)


def _optimal(
    gain: Gain,
    criterion: Callable[[FloatArray], float],
    x_JxP: FloatArray,
    precision_PxP: FloatArray,
    cost_J: FloatArray,
    budget: float,
    restarts: int,
) -> Indices:
    """The best of exchanges from the greedy design and from random ones."""
    rng = np.random.default_rng(0)
    starts = [_greedy(gain, x_JxP, precision_PxP, cost_J, budget)]
    starts += [random_runs(cost_J, budget, rng) for _ in range(restarts)]
    ends = [_exchanged(start, gain, x_JxP, precision_PxP, cost_J, budget) for start in starts]
    return min(ends, key=lambda some: criterion(precision_PxP + x_JxP[some].T @ x_JxP[some]))


def _greedy(gain: Gain, x_JxP: FloatArray, precision_PxP: FloatArray, cost_J: FloatArray, budget: float) -> Indices:
    """Run by run by what the next adds per cost."""
    chosen: Indices = []
    information, left = precision_PxP.copy(), budget
    free = np.ones(len(cost_J), bool)
    while (affordable := np.flatnonzero(free & (cost_J <= left))).size:
        rate = gain(np.linalg.inv(information), x_JxP[affordable]) / cost_J[affordable]
        best = int(affordable[np.argmax(rate)])
        chosen.append(best)
        information += np.outer(x_JxP[best], x_JxP[best])
        free[best], left = False, left - cost_J[best]
    return chosen


def _exchanged(
    chosen: Indices, gain: Gain, x_JxP: FloatArray, precision_PxP: FloatArray, cost_J: FloatArray, budget: float
) -> Indices:
    """Swaps a run for the best affordable one while another is worth more in its place."""
    chosen = list(chosen)
    information = precision_PxP + x_JxP[chosen].T @ x_JxP[chosen]
    spare = budget - float(cost_J[chosen].sum())
    improved = True
    while improved:
        improved = False
        for place, present in enumerate(chosen):
            without = information - np.outer(x_JxP[present], x_JxP[present])
            worth_J = gain(np.linalg.inv(without), x_JxP)
            allowed = cost_J <= spare + cost_J[present]
            allowed[chosen] = False
            worth = np.where(allowed, worth_J, -np.inf)
            best = int(np.argmax(worth))
            if worth[best] > worth_J[present] * (1 + _WORTHWHILE):
                chosen[place], information = best, without + np.outer(x_JxP[best], x_JxP[best])
                spare += cost_J[present] - cost_J[best]
                improved = True
    return chosen


def cheapest_first(cost_J: FloatArray, budget: float) -> Indices:
    """The cheapest runs that the budget affords, in order."""
    order = np.argsort(cost_J, kind="stable")
    return [int(j) for j in order[: np.searchsorted(np.cumsum(cost_J[order]), budget, side="right")]]


def random_runs(cost_J: FloatArray, budget: float, rng: np.random.Generator) -> Indices:
    """Runs in random order, each taken if the budget still affords it."""
    chosen, left = [], budget
    for j in rng.permutation(len(cost_J)):
        if cost_J[j] <= left:
            chosen.append(int(j))
            left -= cost_J[j]
    return chosen


def isoflop(log_params: FloatArray, log_flops: FloatArray, cost_J: FloatArray, budget: float) -> Indices:
    """An IsoFLOP grid (Hoffmann et al. 2022, approach 2) within a budget.

    Up to three levels of compute, a factor of four apart, each with up to five sizes spread evenly over those that the candidates
    have there; the highest top level that the budget affords. What is left is spent on the cheapest runs.

    Args:
      log_params: ln N of the candidates, float64[J].
      log_flops: ln C.
      cost_J: of the candidates.
      budget: all chosen runs together cost at most this.
    """
    for levels in _LEVELS:
        for top in np.unique(log_flops)[::-1]:
            per_level = [_on_level(log_params, log_flops, top - step * _LEVEL_STEP) for step in range(levels)]
            chosen = list(dict.fromkeys(itertools.chain.from_iterable(per_level)))
            if min(map(len, per_level)) >= _FEWEST_SIZES and cost_J[chosen].sum() <= budget:
                rest = np.setdiff1d(np.arange(len(cost_J)), chosen)
                more = cheapest_first(cost_J[rest], budget - float(cost_J[chosen].sum()))
                return [*chosen, *rest[more].tolist()]
    return cheapest_first(cost_J, budget)


def _on_level(log_params: FloatArray, log_flops: FloatArray, level: float) -> Indices:
    """Up to five candidates of about this compute, evenly spread in size."""
    near = np.flatnonzero(np.abs(log_flops - level) < _SAME_LEVEL)
    near = near[np.argsort(log_params[near], kind="stable")]
    return (
        near[np.unique(np.linspace(0, len(near) - 1, _SIZES_PER_LEVEL).round().astype(int))].tolist()
        if len(near)
        else []
    )
