"""The broken neural scaling law with one break (Caballero et al. 2023, arXiv:2210.14891, eq. 1).

    y = a + b·x^−c0 · (1 + (x/d1)^(1/f1))^(−c1·f1)

over compute by default: a power of exponent c0 that turns into one of exponent c0 + c1 around x = d1, the more sharply the
smaller f1. With d1 outside the data it is a plain power law with a floor, and then c1, d1 and f1 are not determined.
"""

import functools

import numpy as np

from analysis.laws.forms.form import LogSum, Parameter, exponent

_B, _A, _C0, _C1, _D1, _F1 = range(6)


def _terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    c0, c1, log_d1, f1 = shape
    (log_x,) = x
    return -c0 * log_x - c1 * f1 * xp.logaddexp(0.0 * log_x, (log_x - log_d1) / f1), 0.0


def _recentre(theta_RxP: np.ndarray, centre_V: np.ndarray) -> np.ndarray:
    moved = theta_RxP.copy()
    moved[:, _B] += theta_RxP[:, _C0] * centre_V[0]
    moved[:, _D1] += centre_V[0]
    return moved


@functools.cache
def broken(column: str = "flops") -> LogSum:
    """The law over one column of the runs table."""
    return LogSum(
        name="broken_power_law",
        equation=f"L(x) = a + b·x^-c0·(1 + (x/d1)^(1/f1))^(-c1·f1), x = {column}",
        source="Caballero et al. 2023 (arXiv:2210.14891), eq. 1 with n = 1",
        variables=(column,),
        coefficients=("log b", "log a"),
        shape=(
            exponent("c0"),
            Parameter("c1", -2.0, 2.0, -0.5, 0.5, logarithmic=False),
            Parameter("log d1", -12.0, 12.0, -3.0, 3.0, logarithmic=False),
            Parameter("f1", 0.02, 4.0, 0.1, 1.0),
        ),
        terms=_terms,
        natural={
            "a": lambda theta: np.exp(theta[:, _A]),
            "log_b": lambda theta: theta[:, _B],
            "c0": lambda theta: theta[:, _C0],
            "c1": lambda theta: theta[:, _C1],
            "log_d1": lambda theta: theta[:, _D1],
            "f1": lambda theta: theta[:, _F1],
        },
        recentre=_recentre,
    )
