"""From a Chinchilla law in total parameters to the exponent that Kaplan's counting sees.

Embeddings are a large part of a small model, so N_opt without them grows faster. With N_T = N_E + omega·N_E^delta and the law
L(N_T, D) = E + A/N_T^alpha + B/D^beta, the size without embeddings that is best for C_E = 6·N_E·D satisfies

    C_E = 6·(beta·B/(alpha·A))^(1/beta) · N_E^(1 − 1/beta) · N_T^((1 + alpha)/beta) · (dN_T/dN_E)^(−1/beta)

so that d ln N_E/d ln C_E falls from beta/(delta·alpha + beta), where embeddings are everything, to Chinchilla's
beta/(alpha + beta), where they are nothing. Pearce and Song 2024 (arXiv:2406.12907), section 3, with delta = 1/3 (a fixed ratio of
depth to width).
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import optimize

from analysis.laws.errors import TableError
from analysis.laws.result import Estimate, Result, estimate
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

CUBE_ROOT = 1 / 3
_COMPUTES = 200
_WIDEST = 120.0
_MISFIT_WORTH_SAYING = 0.05


@dataclasses.dataclass(frozen=True)
class EmbeddingShare:
    """N_T = N_E + omega·N_E^delta, the total parameters as a function of those without embeddings and head.

    Attributes:
      omega: Pearce and Song's 47,491 for a vocabulary of 32,000.
      delta: 1/3 for models of one shape.
      misfit: root mean square of ln N_T minus its fit; 0 where it was not fitted.
    """

    omega: float
    delta: float = CUBE_ROOT
    misfit: float = 0.0

    def log_total(self, log_n_e: FloatArray) -> FloatArray:
        """ln N_T."""
        return np.logaddexp(log_n_e, np.log(self.omega) + self.delta * log_n_e)

    def slope(self, log_n_e: FloatArray) -> FloatArray:
        """dN_T/dN_E."""
        return 1 + self.omega * self.delta * np.exp((self.delta - 1) * log_n_e)

    def elasticity(self, log_n_e: FloatArray) -> FloatArray:
        """d ln N_T/d ln N_E."""
        return self.slope(log_n_e) * np.exp(log_n_e - self.log_total(log_n_e))

    @property
    def flags(self) -> tuple[str, ...]:
        """Says where the sizes do not follow the curve."""
        if self.misfit <= _MISFIT_WORTH_SAYING:
            return ()
        return (
            f"total parameters stray {100 * self.misfit:.2g}% from N_E + omega·N_E^{self.delta:.3g}: the sizes have no common shape",
        )


PEARCE_SONG = EmbeddingShare(47491.0)


def share_of(
    params_total_S: FloatArray, params_non_embedding_S: FloatArray, delta: float | None = CUBE_ROOT
) -> EmbeddingShare:
    """Fits omega, and delta where it is None, by least squares of ln N_T.

    On the Chinchilla models and a vocabulary of 32,000, both together give omega = 47,491 and delta = 0.339 (which the paper rounds to
    1/3 and keeps the omega), omega alone 52,960.

    Args:
      params_total_S: N_T of the sizes.
      params_non_embedding_S: N_E, below N_T.

    Raises:
      TableError: a size has no embeddings, or there are fewer sizes than unknowns.
    """
    total, non_embedding = np.unique(np.stack([params_total_S, params_non_embedding_S], axis=1), axis=0).T
    unknowns = 1 if delta is not None else 2
    if len(total) < unknowns or not np.all((non_embedding > 0) & (total > non_embedding)):
        raise TableError(
            f"omega needs {unknowns} sizes with more total than non-embedding parameters, and both counts positive",
            "give a table with params_total and params_non_embedding",
        )
    log_n, log_embedding = np.log(non_embedding), np.log(total - non_embedding)
    start = [np.mean(log_embedding - CUBE_ROOT * log_n), CUBE_ROOT][:unknowns]

    def residuals(unknown: FloatArray) -> FloatArray:
        exponent = delta if delta is not None else unknown[1]
        return np.logaddexp(log_n, unknown[0] + exponent * log_n) - np.log(total)

    found = optimize.least_squares(residuals, start, method="lm", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    misfit = float(np.sqrt(np.mean(found.fun**2)))
    return EmbeddingShare(float(np.exp(found.x[0])), delta if delta is not None else float(found.x[1]), misfit)


def share_of_table(table: RunsTable, delta: float | None = CUBE_ROOT) -> EmbeddingShare:
    """The same from the sizes of a table that knows both counts.

    Raises:
      TableError: it does not.
    """
    columns = ["params_total", "params_non_embedding"]
    missing = [name for name in columns if name not in table.raw.columns]
    if missing:
        raise TableError(f"{table.source or 'the table'} has no {', '.join(missing)}", "add both parameter counts")
    used = table.raw[table.raw["run_id"].isin(table.frame["run_id"])]
    return share_of(*(used[name].to_numpy(np.float64) for name in columns), delta)


def log_flops_of(theta_RxP: FloatArray, share: EmbeddingShare, log_n_e: FloatArray) -> FloatArray:
    """ln C_E for which each N_E is the best, float64[R, Q].

    Args:
      theta_RxP: log A, log B, log E, alpha, beta of the law in total parameters.
      share: of embeddings.
      log_n_e: ln N_E, float64[Q] or one row a replicate.
    """
    log_a, log_b, _, alpha, beta = (column[:, None] for column in theta_RxP.T)
    constant = np.log(6.0) + (np.log(beta) + log_b - np.log(alpha) - log_a) / beta
    size = (1 - 1 / beta) * log_n_e + (1 + alpha) / beta * share.log_total(log_n_e)
    return constant + size - np.log(share.slope(log_n_e)) / beta


def local_exponent(theta_RxP: FloatArray, share: EmbeddingShare, log_n_e: FloatArray) -> FloatArray:
    """d ln N_E/d ln C_E along the frontier at each N_E, float64[R, Q]; arguments as :func:`log_flops_of`."""
    alpha, beta = theta_RxP[:, 3, None], theta_RxP[:, 4, None]
    slope = share.slope(log_n_e)
    # d ln(dN_T/dN_E)/d ln N_E, of 1 + omega·delta·N_E^(delta − 1).
    bend = (share.delta - 1) * (slope - 1) / slope
    return 1 / (1 - 1 / beta + (1 + alpha) / beta * share.elasticity(log_n_e) - bend / beta)


def optimum(theta_RxP: FloatArray, share: EmbeddingShare, log_flops_Q: FloatArray) -> FloatArray:
    """ln N_E that is best for ln C_E, float64[R, Q], by bisection: compute rises with the size."""
    low = np.full((len(theta_RxP), len(log_flops_Q)), -_WIDEST)
    high = -low
    for _ in range(64):
        middle = (low + high) / 2
        below = log_flops_of(theta_RxP, share, middle) < log_flops_Q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def kaplan_exponent(law: Result, share: EmbeddingShare, low_flops: float, high_flops: float) -> Estimate:
    """The exponent that a power law through the frontier N_E(C_E) has between two computes, with the law's interval.

    Args:
      law: a Result of :mod:`analysis.laws.parametric`, fitted in total parameters.
      share: of embeddings.
      low_flops, high_flops: C_E = 6·N_E·D; the slope is the least-squares line's over computes that are evenly spaced in ln C_E.

    Raises:
      ValueError: the range is empty.
    """
    if not 0 < low_flops < high_flops:
        raise ValueError(f"the range of compute must ascend, not {low_flops:g} to {high_flops:g}")
    theta = np.concatenate([law.theta[None], law.replicates])
    slopes = exponent_between(theta, share, low_flops, high_flops)
    return estimate(slopes[0], slopes[1:], law.level, law.parameters["alpha"].method)


def exponent_between(theta_RxP: FloatArray, share: EmbeddingShare, low_flops: float, high_flops: float) -> FloatArray:
    """The same of every row of parameters, float64[R]."""
    log_flops_Q = np.linspace(np.log(low_flops), np.log(high_flops), _COMPUTES)
    centred = log_flops_Q - log_flops_Q.mean()
    return optimum(theta_RxP, share, log_flops_Q) @ centred / (centred @ centred)
