"""A power of the reducible loss as a whole, in two published notations of one surface.

Skaling writes E + A·(N^−alpha + R·D^−beta)^kappa, the gamma form (used for xLSTM and for distillation)
E + (A'·N^−alpha + B'·D^−beta)^gamma; with gamma = kappa, A' = A^(1/kappa) and B' = R·A^(1/kappa) they are the same function. At
kappa = 1 it is Chinchilla's law, so it says whether the two reducible terms really add.
"""

import numpy as np

from analysis.laws.forms.form import LogSum, Parameter, exponent

_A, _E, _ALPHA, _BETA, _R, _KAPPA = range(6)


def _terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    alpha, beta, log_r, kappa = shape
    return kappa * xp.logaddexp(-alpha * x[0], log_r - beta * x[1]), 0.0


def _recentre(theta_RxP: np.ndarray, centre_V: np.ndarray) -> np.ndarray:
    moved = theta_RxP.copy()
    moved[:, _A] += theta_RxP[:, _KAPPA] * theta_RxP[:, _ALPHA] * centre_V[0]
    moved[:, _R] += theta_RxP[:, _BETA] * centre_V[1] - theta_RxP[:, _ALPHA] * centre_V[0]
    return moved


_SHAPE = (
    exponent("alpha"),
    exponent("beta"),
    Parameter("log R", -12.0, 12.0, -3.0, 3.0, logarithmic=False),
    Parameter("kappa", 0.05, 8.0, 0.3, 3.0),
)
_DERIVED = {
    # The optimum of C = 6·N·D minimises the inner sum, so it is Chinchilla's: N_opt ∝ C^a.
    "a": lambda theta: theta[:, _BETA] / (theta[:, _ALPHA] + theta[:, _BETA]),
    "b": lambda theta: theta[:, _ALPHA] / (theta[:, _ALPHA] + theta[:, _BETA]),
}

FORM = LogSum(
    name="skaling",
    equation="L(N, D) = E + A·(N^-alpha + R·D^-beta)^kappa",
    source="Skaling; the same surface as the gamma form of the xLSTM scaling laws (arXiv:2510.02228)",
    variables=("params", "tokens"),
    coefficients=("log A", "log E"),
    shape=_SHAPE,
    terms=_terms,
    natural={
        "A": lambda theta: np.exp(theta[:, _A]),
        "E": lambda theta: np.exp(theta[:, _E]),
        "alpha": lambda theta: theta[:, _ALPHA],
        "beta": lambda theta: theta[:, _BETA],
        "R": lambda theta: np.exp(theta[:, _R]),
        "kappa": lambda theta: theta[:, _KAPPA],
    },
    derived=_DERIVED,
    recentre=_recentre,
)

GAMMA = LogSum(
    name="gamma_form",
    equation="L(N, D) = E + (A/N^alpha + B/D^beta)^gamma",
    source="the gamma form of the xLSTM scaling laws (arXiv:2510.02228); the same surface as Skaling",
    variables=FORM.variables,
    coefficients=FORM.coefficients,
    shape=_SHAPE,
    terms=_terms,
    natural={
        "A": lambda theta: np.exp(theta[:, _A] / theta[:, _KAPPA]),
        "B": lambda theta: np.exp(theta[:, _A] / theta[:, _KAPPA] + theta[:, _R]),
        "E": lambda theta: np.exp(theta[:, _E]),
        "alpha": lambda theta: theta[:, _ALPHA],
        "beta": lambda theta: theta[:, _BETA],
        "gamma": lambda theta: theta[:, _KAPPA],
    },
    derived=_DERIVED,
    recentre=_recentre,
)
