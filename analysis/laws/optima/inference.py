"""The cheapest model of a given quality over its whole life: training and the tokens that it will serve.

    minimise 6·N·D_train + 2·N·D_inference   subject to   L(N, D_train) = loss

(Sardana et al. 2023, arXiv:2401.00448, eq. 2.) The tokens that reach the loss are known in closed form for every N, so what is
left is a search along N. With no inference it is Chinchilla's optimum of that loss.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.optima import optimal
from analysis.laws.result import Estimate, Result, estimate

FloatArray = npt.NDArray[np.float64]

_POINTS = 241
_REFINEMENTS = 4
_SPAN = 12.0


@dataclasses.dataclass(frozen=True)
class Lifetime:
    """ln N, ln D_train and ln FLOPs over the model's life, of every replicate, float64[R]."""

    log_params: FloatArray
    log_tokens: FloatArray
    log_flops: FloatArray


def log_tokens_for(theta_RxP: FloatArray, log_params_RxQ: FloatArray, loss_R: FloatArray) -> FloatArray:
    """ln D that brings a model of ln N to the loss, float64[R, Q]; infinite where N alone keeps it above."""
    log_a, log_b, log_e, alpha, beta = (column[:, None] for column in theta_RxP.T)
    left = loss_R[:, None] - np.exp(log_e) - np.exp(log_a - alpha * log_params_RxQ)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > 0, (log_b - np.log(left)) / beta, np.inf)


def optimum(theta_RxP: FloatArray, loss_R: FloatArray, inference_tokens: float) -> Lifetime:
    """The cheapest N and D_train of every row of the parametric law's parameters.

    Args:
      theta_RxP: log A, log B, log E, alpha, beta.
      loss_R: nats per token to reach, above E.
      inference_tokens: tokens served over the model's life.

    Raises:
      ValueError: a loss is not above the irreducible one.
    """
    if np.any(loss_R <= np.exp(theta_RxP[:, 2])):
        raise ValueError("no model reaches a loss at or below E: ask for a higher loss")
    # Around the N whose parameters' term alone would use half of what is reducible.
    centre_R = (theta_RxP[:, 0] - np.log((loss_R - np.exp(theta_RxP[:, 2])) / 2)) / theta_RxP[:, 3]
    width = _SPAN
    for _ in range(_REFINEMENTS):
        grid_RxQ = centre_R[:, None] + np.linspace(-width, width, _POINTS)
        tokens_RxQ = log_tokens_for(theta_RxP, grid_RxQ, loss_R)
        with np.errstate(divide="ignore"):
            served = np.log(2.0 * inference_tokens)
        flops_RxQ = np.logaddexp(np.log(6.0) + tokens_RxQ, served) + grid_RxQ
        best = np.argmin(flops_RxQ, axis=1)
        rows = np.arange(len(best))
        centre_R, width = grid_RxQ[rows, best], 3 * width / (_POINTS - 1)
    return Lifetime(centre_R, tokens_RxQ[rows, best], flops_RxQ[rows, best])


@dataclasses.dataclass(frozen=True)
class InferenceAware:
    """What to train for the quality of a compute-optimal model, given what it will serve.

    Attributes:
      flops: the training budget whose compute-optimal loss is to be reached.
      inference_tokens: served over the model's life.
      loss: that loss.
      params, tokens: of the cheapest model over its life.
      saved: share of lifetime FLOPs that the compute-optimal model would have cost more.
    """

    flops: float
    inference_tokens: float
    loss: Estimate
    params: Estimate
    tokens: Estimate
    saved: Estimate

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json."""
        numbers = {name: getattr(self, name).to_json() for name in ("loss", "params", "tokens", "saved")}
        return {"flops": self.flops, "inference_tokens": self.inference_tokens, **numbers}


def allocate(law: Result, budgets: tuple[float, ...], inference_tokens: float) -> list[InferenceAware]:
    """The inference-aware optimum beside every compute-optimal one, with C = 6·N·D.

    Args:
      law: a Result of :mod:`analysis.laws.parametric`.
      budgets: training FLOPs of the compute-optimal models.
      inference_tokens: served over the model's life.
    """
    theta = np.concatenate([law.theta[None], law.replicates])
    method = next(iter(law.parameters.values())).method
    found = []
    for flops in budgets:
        at = optimal.optimum(theta, float(np.log(flops)))
        best = optimum(theta, np.exp(at.log_loss), inference_tokens)
        compute_optimal = np.logaddexp(np.log(flops), np.log(2.0 * inference_tokens) + at.log_params)
        columns = (
            np.exp(at.log_loss),
            np.exp(best.log_params),
            np.exp(best.log_tokens),
            -np.expm1(best.log_flops - compute_optimal),
        )
        numbers = [estimate(column[0], column[1:], law.level, method) for column in columns]
        found.append(InferenceAware(flops, inference_tokens, *numbers))
    return found
