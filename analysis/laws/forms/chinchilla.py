"""Chinchilla's parametric loss: L(N, D) = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, arXiv:2203.15556, eq. 2)."""

import numpy as np

from analysis.laws.forms.form import LogSum, exponent

A, B, E, ALPHA, BETA = range(5)


def _terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    alpha, beta = shape
    log_n, log_d = x
    return -alpha * log_n, -beta * log_d, 0.0


def log_g(theta_RxP: np.ndarray) -> np.ndarray:
    """ln G = ln(alpha·A / (beta·B)) / (alpha + beta), eq. 4, float64[R]."""
    alpha, beta = theta_RxP[:, ALPHA], theta_RxP[:, BETA]
    return (np.log(alpha / beta) + theta_RxP[:, A] - theta_RxP[:, B]) / (alpha + beta)


FORM = LogSum(
    name="chinchilla_parametric",
    equation="L(N, D) = E + A/N^alpha + B/D^beta",
    source="Hoffmann et al. 2022 (arXiv:2203.15556), approach 3, eq. 2",
    variables=("params", "tokens"),
    coefficients=("log A", "log B", "log E"),
    shape=(exponent("alpha"), exponent("beta")),
    terms=_terms,
    natural={
        "A": lambda theta: np.exp(theta[:, A]),
        "B": lambda theta: np.exp(theta[:, B]),
        "E": lambda theta: np.exp(theta[:, E]),
        "alpha": lambda theta: theta[:, ALPHA],
        "beta": lambda theta: theta[:, BETA],
    },
    derived={
        # N_opt ∝ C^a and D_opt ∝ C^b, eq. 4.
        "a": lambda theta: theta[:, BETA] / (theta[:, ALPHA] + theta[:, BETA]),
        "b": lambda theta: theta[:, ALPHA] / (theta[:, ALPHA] + theta[:, BETA]),
        "G": lambda theta: np.exp(log_g(theta)),
        # L_opt − E ∝ C^−gamma.
        "gamma": lambda theta: theta[:, ALPHA] * theta[:, BETA] / (theta[:, ALPHA] + theta[:, BETA]),
    },
)
