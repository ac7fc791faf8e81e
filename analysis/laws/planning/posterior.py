"""Draws of the parametric law from its posterior, in a few milliseconds and from as few runs as there are.

A planner must know what the runs leave open, most of all when they are few: a handful of runs fits many laws equally well, and
an optimiser returns one of them. Given alpha, beta and the noise, L = E + A/N^alpha + B/D^beta is linear in E, A and B, so their
posterior is normal and their marginal likelihood has a closed form (Bishop 2006, *Pattern Recognition and Machine Learning*, eq.
3.86). What is left has three dimensions and is laid out on a grid; draws with a negative coefficient are rejected, which is exact
for a prior cut at zero.

Priors are weak and the same for every table: alpha and beta log-normal around 0.4, 90% between 0.15 and 1.07 (published fits
lie between 0.15 and 1.05); coefficients half-normal on the scale of the losses; the noise log-normal around 1%.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.errors import TableError
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.forms.form import evaluate

FloatArray = npt.NDArray[np.float64]

_EXPONENT_MEDIAN, _EXPONENT_SPREAD = 0.4, 0.6
_NOISE_MEDIAN, _NOISE_SPREAD = 0.01, 1.0
_LOWEST, _HIGHEST = 0.03, 3.0
_COARSE, _FINE = 20, 24
_NOISES = np.geomspace(5e-4, 0.1, 12)
# How far the fine grid reaches around the draws of the coarse one, in their standard deviations.
_REACH = 3.5
_ROUNDS = 60


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Draws of the law, all equally likely.

    Attributes:
      theta: as :data:`analysis.laws.forms.chinchilla.FORM` takes it (log A, log B, log E, alpha, beta), float64[S, 5].
      noise: standard deviation of ln L of one run, float64[S].
    """

    theta: FloatArray
    noise: FloatArray

    def log_loss(self, log_params: FloatArray, log_tokens: FloatArray) -> FloatArray:
        """ln L of every draw at points of ln N and ln D [Q], float64[S, Q]."""
        return evaluate(FORM, self.theta, np.stack([log_params, log_tokens], axis=1))

    @property
    def typical_noise(self) -> float:
        """Root mean square of the noise."""
        return float(np.sqrt(np.mean(self.noise**2)))


@dataclasses.dataclass(frozen=True)
class _Centred:
    """The runs as the linear model sees them: ln N and ln D about their means, relative losses, relative noise."""

    log_n: FloatArray
    log_d: FloatArray
    loss: FloatArray
    spread: FloatArray


def posterior(
    log_params: FloatArray,
    log_tokens: FloatArray,
    log_loss: FloatArray,
    rng: np.random.Generator,
    draws: int = 512,
    spread: FloatArray | None = None,
) -> Posterior:
    """Draws from the posterior of the law, given runs.

    Args:
      log_params: ln N of the runs, float64[K].
      log_tokens: ln D.
      log_loss: ln L, L in nats per token.
      rng: equal generators give equal draws.
      draws: S.
      spread: how many times the noise of each run is the noise that is estimated, float64[K]; None for once.

    Raises:
      TableError: no law with positive coefficients comes near these runs.
    """
    spread_K = np.ones(len(log_loss)) if spread is None else spread
    centre_n, centre_d, centre_l = (float(np.mean(column)) for column in (log_params, log_tokens, log_loss))
    runs = _Centred(log_params - centre_n, log_tokens - centre_d, np.exp(log_loss - centre_l), spread_K)
    coarse = np.geomspace(_LOWEST, _HIGHEST, _COARSE)
    rough = _drawn(runs, coarse, coarse, rng, draws)
    alpha, beta = (_around(rough[:, index]) for index in (3, 4))
    found = _drawn(runs, alpha, beta, rng, draws)
    log_a, log_b, log_e = np.log(found[:, :3]).T + centre_l
    alpha, beta, noise = found[:, 3:].T
    theta = np.stack([log_a + alpha * centre_n, log_b + beta * centre_d, log_e, alpha, beta], axis=1)
    return Posterior(theta, noise)


def _around(values: FloatArray) -> FloatArray:
    """A fine grid over where the draws of an exponent lie."""
    logs, cell = np.log(values), np.log(_HIGHEST / _LOWEST) / (_COARSE - 1)
    half = max(_REACH * float(logs.std()), cell)
    low, high = np.clip([logs.mean() - half, logs.mean() + half], np.log(_LOWEST), np.log(_HIGHEST))
    return np.exp(np.linspace(low, high, _FINE))


def _drawn(runs: _Centred, alpha_F: FloatArray, beta_F: FloatArray, rng: np.random.Generator, draws: int) -> FloatArray:
    """A, B, E (centred), alpha, beta and noise of every draw, float64[S, 6]."""
    alpha_G, beta_G = (axis.ravel() for axis in np.meshgrid(alpha_F, beta_F, indexing="ij"))
    evidence_GxT, mean, root = _conditionals(runs, alpha_G, beta_G)
    prior_G = sum(-0.5 * (np.log(value / _EXPONENT_MEDIAN) / _EXPONENT_SPREAD) ** 2 for value in (alpha_G, beta_G))
    prior_T = -0.5 * (np.log(_NOISES / _NOISE_MEDIAN) / _NOISE_SPREAD) ** 2
    log_weight = (evidence_GxT + prior_G[:, None] + prior_T).ravel()
    chance = np.exp(log_weight - log_weight.max())
    chance /= chance.sum()
    kept: list[FloatArray] = []
    count = 0
    for _ in range(_ROUNDS):
        cell = rng.choice(len(chance), 2 * draws, p=chance)
        grid, noise = np.divmod(cell, len(_NOISES))
        c = mean[grid, noise] + np.einsum("spq,sq->sp", root[grid, noise], rng.standard_normal((len(cell), 3)))
        rows = np.column_stack([c, alpha_G[grid], beta_G[grid], _NOISES[noise]])[(c > 0).all(axis=1)]
        kept.append(rows)
        count += len(rows)
        if count >= draws:
            break
    if not count:
        raise TableError(
            "no law with positive E, A and B comes near these runs",
            "check their losses, or add runs of other sizes and tokens",
        )
    found = np.concatenate(kept)
    return found[:draws] if count >= draws else found[rng.choice(count, draws)]


def _conditionals(runs: _Centred, alpha_G: FloatArray, beta_G: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log evidence [G, T], and mean [G, T, 3] and a root of the covariance [G, T, 3, 3] of (A, B, E) at T noises."""
    scale_K = 1 / (runs.loss * runs.spread)
    x_GxKx3 = np.stack(
        [
            np.exp(-alpha_G[:, None] * runs.log_n) * scale_K,
            np.exp(-beta_G[:, None] * runs.log_d) * scale_K,
            np.broadcast_to(scale_K, (len(alpha_G), len(scale_K))),
        ],
        axis=2,
    )
    gram = np.matmul(x_GxKx3.transpose(0, 2, 1), x_GxKx3)
    target = np.einsum("gkp,k->gp", x_GxKx3, 1 / runs.spread)
    precision_T = _NOISES**-2.0
    # Coefficients are in units of the typical loss, so that their prior is of unit scale.
    information = gram[:, None] * precision_T[:, None, None] + np.eye(3)
    lower = np.linalg.cholesky(information)
    root = np.linalg.inv(lower).transpose(0, 1, 3, 2)
    mean = np.einsum("gtpq,gtrq,gr,t->gtp", root, root, target, precision_T, optimize=True)
    fit = np.einsum("gtp,gp,t->gt", mean, target, precision_T, optimize=True)
    half_log_determinant = np.log(np.diagonal(lower, axis1=2, axis2=3)).sum(axis=2)
    evidence = (
        -len(runs.loss) * np.log(_NOISES) - half_log_determinant - 0.5 * (np.sum(runs.spread**-2) * precision_T - fit)
    )
    return evidence, mean, root
