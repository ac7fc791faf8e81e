"""The value of runs before they are made: how far they are expected to lower the regret of the decision, for what they cost.

Preposterior analysis (Raiffa and Schlaifer 1961, *Applied Statistical Decision Theory*, ch. 4) of a linear Gaussian kind. Near the
choice of N, the loss is a parabola in ln N, so the regret of the choice is slope²/(2·curvature), with the slope dL/d ln N there. Runs do not
change what the slope is expected to be but how well it is known: by the joint spread of the slope and of the runs' losses over the
posterior's draws, and by the noise of a run. The expected regret falls in proportion to the variance of the slope, which has a closed
form for any set of runs. A set is chosen greedily by its reduction per cost and improved by exchanges.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.planning import designs
from analysis.laws.planning.decision import Decision
from analysis.laws.planning.posterior import Posterior

FloatArray = npt.NDArray[np.float64]

# Choices to either side of the present one between which the slope is taken: a fifth of ln N in all.
_BESIDE = 3
_NEGLIGIBLE = 1e-9


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What candidate runs would say about the decision.

    Attributes:
      regret: expected regret of the present choice, nats per token.
      slope_F: deviations of the slope of the loss at that choice over the posterior, in F coordinates whose precision is one.
      sight_JxF: deviations of each candidate's ln L, in units of its noise.
    """

    regret: float
    slope_F: FloatArray
    sight_JxF: FloatArray

    def share_left(self, candidates: list[int]) -> float:
        """Variance of the slope given these runs, over the present one."""
        if not np.any(self.slope_F):
            return 1.0
        region, prior = self.slope_F[None], np.eye(len(self.slope_F))
        before = float(self.slope_F @ self.slope_F)
        return designs.average_variance(self.sight_JxF[candidates], region, prior) / before

    def after(self, candidates: list[int]) -> float:
        """Expected regret given these runs, nats per token."""
        return self.regret * self.share_left(candidates)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A run that was chosen.

    Attributes:
      candidate: its index.
      cost: in the unit of the budget.
      before, after: expected regret without and with it, given those before it in the list, nats per token.
    """

    candidate: int
    cost: float
    before: float
    after: float


def outlook(posterior: Posterior, decision: Decision, log_params: FloatArray, log_tokens: FloatArray) -> Outlook:
    """Looks at candidates from what is known.

    Args:
      posterior: of the law, given the runs that there are.
      decision: what the runs are for.
      log_params, log_tokens: ln N and ln D of the candidates, float64[J] each.
    """
    best, regret = decision.best(posterior)
    ends = np.clip([best - _BESIDE, best + _BESIDE], 0, len(decision.log_params) - 1)
    loss_Sx2 = np.exp(posterior.log_loss(decision.log_params[ends], decision.log_tokens[ends]))
    slope_S = _deviations(loss_Sx2[:, 1] - loss_Sx2[:, 0])
    noise_J = posterior.typical_noise * decision.spread(decision.log_cost(log_params) + log_tokens)
    sight_SxJ = _deviations(posterior.log_loss(log_params, log_tokens)) / noise_J
    # The draws span far fewer directions than there are of them.
    basis, size, _ = np.linalg.svd(np.column_stack([slope_S / np.linalg.norm(slope_S), sight_SxJ]), full_matrices=False)
    basis = basis[:, size > _NEGLIGIBLE * size[0]]
    return Outlook(regret, basis.T @ slope_S, sight_SxJ.T @ basis)


def _deviations(values: FloatArray) -> FloatArray:
    """From the mean over draws, scaled so that products are covariances."""
    return (values - values.mean(axis=0)) / np.sqrt(len(values))


def choose(seen: Outlook, cost_J: FloatArray, budget: float) -> list[Choice]:
    """The runs to make within a budget, the cheapest first: what they show may change what the dear ones should be.

    Args:
      seen: the outlook on the candidates.
      cost_J: of the candidates, in the unit of the budget.
      budget: all chosen runs together cost at most this.
    """
    prior = np.eye(len(seen.slope_F))
    chosen = designs.v_optimal(seen.sight_JxF, seen.slope_F[None], prior, cost_J, budget)
    order = sorted(chosen, key=lambda j: (cost_J[j], j))
    left = [seen.regret, *(seen.after(order[: count + 1]) for count in range(len(order)))]
    return [
        Choice(j, float(cost_J[j]), before, after) for j, before, after in zip(order, left[:-1], left[1:], strict=True)
    ]
