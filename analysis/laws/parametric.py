"""Chinchilla, approach 3: the parametric law L(N, D) = E + A/N^alpha + B/D^beta.

Hoffmann et al. 2022 (arXiv:2203.15556), section 3.3, eq. 2 and 3; estimation as corrected by Besiroglu et al. 2024
(arXiv:2404.10102). N and D as counted by the table's conventions; C = 6·N·D with that N.
"""

import numpy as np

from analysis.laws.fitting import engine
from analysis.laws.fitting import fit as fitting
from analysis.laws.forms.power_sums import PowerSum, Term
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Result
from analysis.laws.tables.table import RunsTable

NAME = "chinchilla_parametric"
EQUATION = "L(N, D) = E + A/N^alpha + B/D^beta"
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 3, eq. 2"

FORM = PowerSum(
    (Term("log A", fitting.LOG_PARAMS, "alpha"), Term("log B", fitting.LOG_TOKENS, "beta"), Term("log E")),
)
_A, _B, _E, _ALPHA, _BETA = range(5)
# E below 1% of the smallest loss is as good as none.
_NO_FLOOR = 0.01

NATURAL = {
    "A": lambda theta: np.exp(theta[:, _A]),
    "B": lambda theta: np.exp(theta[:, _B]),
    "E": lambda theta: np.exp(theta[:, _E]),
    "alpha": lambda theta: theta[:, _ALPHA],
    "beta": lambda theta: theta[:, _BETA],
}
DERIVED = {
    # N_opt ∝ C^a and D_opt ∝ C^b, eq. 4.
    "a": lambda theta: theta[:, _BETA] / (theta[:, _ALPHA] + theta[:, _BETA]),
    "b": lambda theta: theta[:, _ALPHA] / (theta[:, _ALPHA] + theta[:, _BETA]),
    "G": lambda theta: np.exp(log_g(theta)),
    # L_opt − E ∝ C^−gamma.
    "gamma": lambda theta: theta[:, _ALPHA] * theta[:, _BETA] / (theta[:, _ALPHA] + theta[:, _BETA]),
}


def log_g(theta_RxP: np.ndarray) -> np.ndarray:
    """ln G = ln(alpha·A / (beta·B)) / (alpha + beta), eq. 4, float64[R]."""
    alpha, beta = theta_RxP[:, _ALPHA], theta_RxP[:, _BETA]
    return (np.log(alpha / beta) + theta_RxP[:, _A] - theta_RxP[:, _B]) / (alpha + beta)


def fit(
    table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9, delta: float = engine.HUBER_DELTA
) -> Result:
    """Fits the law to a runs table.

    Args:
      table: the runs; N, D and L are used, C is not.
      draws: bootstrap draws of the table's rows; empty for no intervals.
      level: coverage of the intervals.
      delta: Huber threshold on log residuals.
    """
    y_K = table.log("loss")
    fitted = fitting.fit_form(FORM, fitting.variables(table), y_K, draws, delta)
    flags = []
    if np.exp(fitted.theta[_E]) < _NO_FLOOR * np.exp(y_K.min()):
        flags.append("the irreducible loss E is at zero: the runs are too far from it to see it")
    exponent = FORM.names.index("alpha")
    if fitted.theta[exponent:].max() > 1.5:
        flags.append("an exponent above 1.5: the law bends inside this range, so extrapolate with care")
    return fitting.result_of(
        fitted, FORM, name=NAME, equation=EQUATION, source=SOURCE, natural=NATURAL, derived=DERIVED,
        run_ids=tuple(table.frame["run_id"]), level=level, flags=tuple(flags), delta=delta,
    )  # fmt: skip
