"""Chinchilla's law whose data term depends on the size: L(N, D) = E + A·N^-alpha + B·N^kappa·D^-beta.

Larger models need more tokens before they are better (kappa > 0) or fewer (kappa < 0). It is the simplest case of Farseer's data term
B(N)·D^-beta(N) (Li et al. 2025, arXiv:2506.10972): B is a power of N and beta is constant. At kappa = 0 it is Chinchilla's law.
"""

import numpy as np

from analysis.laws.forms.form import LogSum, Parameter, exponent


def _terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    alpha, beta, kappa = shape
    log_n, log_d = x
    return -alpha * log_n, kappa * log_n - beta * log_d, 0.0


FORM = LogSum(
    name="data_by_size",
    equation="L(N, D) = E + A·N^-alpha + B·N^kappa·D^-beta",
    source="a case of Farseer's data term, Li et al. 2025 (arXiv:2506.10972)",
    variables=("params", "tokens"),
    coefficients=("log A", "log B", "log E"),
    shape=(exponent("alpha"), exponent("beta"), Parameter("kappa", -1.0, 4.0, -0.3, 1.0, logarithmic=False)),
    terms=_terms,
    natural={
        "A": lambda theta: np.exp(theta[:, 0]),
        "B": lambda theta: np.exp(theta[:, 1]),
        "E": lambda theta: np.exp(theta[:, 2]),
        "alpha": lambda theta: theta[:, 3],
        "beta": lambda theta: theta[:, 4],
        "kappa": lambda theta: theta[:, 5],
    },
)
