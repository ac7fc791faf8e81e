"""Repeated data: Chinchilla's law in effective data and effective parameters (Muennighoff et al. 2023, arXiv:2305.16264).

    L = E + A/N'^alpha + B/D'^beta
    D' = U_D·(1 + R*_D·(1 − e^(−R_D/R*_D))),  R_D = D/U_D − 1                                      (eq. 5)
    N' = U_N·(1 + R*_N·(1 − e^(−R_N/R*_N))),  R_N = N/U_N − 1,  U_N = min(N, N_opt(U_D))            (eq. 6)

with U_D the unique tokens and N_opt(U_D) the size that is compute-optimal for them. With exponents and coefficients held
at those of a single-epoch fit only R*_D and R*_N are free (:func:`with_fixed`), as in the paper.
"""

import numpy as np

from analysis.laws.forms.form import Direct, Parameter, exponent

A, B, E, ALPHA, BETA, R_D, R_N = range(7)
# The largest number of repetitions worth telling from "as good as new".
_NEVER = 1e5


def effective(log_n, log_d, log_u, log_a, log_b, alpha, beta, log_r_d, log_r_n, xp):  # noqa: ANN001, ANN201
    """ln N' and ln D'; arguments are logarithms, numbers of either library that broadcast."""
    # At the optimum of C = N·D the marginal losses agree: alpha·A·N^−alpha = beta·B·D^−beta.
    log_best = (xp.log(alpha / beta) + log_a - log_b + beta * log_u) / alpha
    log_unique_n = xp.minimum(log_n, log_best)
    return _saturated(log_n, log_unique_n, log_r_n, xp), _saturated(log_d, log_u, log_r_d, xp)


def _saturated(log_x, log_unique, log_star, xp):  # noqa: ANN001, ANN202 - numbers of either library
    star = xp.exp(log_star)
    repeats = xp.expm1(xp.maximum(log_x - log_unique, 0.0))
    return log_unique + xp.log1p(-star * xp.expm1(-repeats / star))


def _log_loss(theta, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    log_a, log_b, log_e, alpha, beta, log_r_d, log_r_n = theta
    log_n, log_d = effective(*x, log_a, log_b, alpha, beta, log_r_d, log_r_n, xp)
    return xp.logaddexp(xp.logaddexp(log_a - alpha * log_n, log_b - beta * log_d), log_e)


def _recentre(theta_RxP: np.ndarray, centre_V: np.ndarray) -> np.ndarray:
    moved = theta_RxP.copy()
    moved[:, A] += theta_RxP[:, ALPHA] * centre_V[0]
    moved[:, B] += theta_RxP[:, BETA] * centre_V[1]
    return moved


_STARS = (
    Parameter("log R*_D", -4.0, float(np.log(_NEVER)), 0.0, 6.0, logarithmic=False),
    Parameter("log R*_N", -4.0, float(np.log(_NEVER)), 0.0, 6.0, logarithmic=False),
)
_STAR_READINGS = {"R*_D": lambda theta: np.exp(theta[:, -2]), "R*_N": lambda theta: np.exp(theta[:, -1])}
_EQUATION = "L(N, D, U) = E + A/N'^alpha + B/D'^beta, X' = U_X·(1 + R*_X·(1 - exp(-R_X/R*_X)))"
_SOURCE = "Muennighoff et al. 2023 (arXiv:2305.16264), eq. 5 and 6"
VARIABLES = ("params", "tokens", "unique_tokens")

FORM = Direct(
    name="data_constrained",
    equation=_EQUATION,
    source=_SOURCE,
    variables=VARIABLES,
    parameters=(
        Parameter("log A", -12.0, 6.0, -4.0, 1.0, logarithmic=False),
        Parameter("log B", -12.0, 6.0, -4.0, 1.0, logarithmic=False),
        Parameter("log E", -6.0, 4.0, -1.0, 1.3, logarithmic=False),
        exponent("alpha"),
        exponent("beta"),
        *_STARS,
    ),
    response=_log_loss,
    natural={
        "A": lambda theta: np.exp(theta[:, A]),
        "B": lambda theta: np.exp(theta[:, B]),
        "E": lambda theta: np.exp(theta[:, E]),
        "alpha": lambda theta: theta[:, ALPHA],
        "beta": lambda theta: theta[:, BETA],
        **_STAR_READINGS,
    },
    recentre=_recentre,
    # R_D = D/U − 1 needs both on one scale.
    centred_with={"unique_tokens": "tokens"},
)


def with_fixed(log_a: float, log_b: float, log_e: float, alpha: float, beta: float) -> Direct:
    """The law with the single-epoch parameters held: R*_D and R*_N alone are fitted, as the paper does.

    Args:
      log_a, log_b, log_e: natural logarithms of A, B, E at N and D in single parameters and tokens.
      alpha, beta: exponents.
    """

    def response(theta, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
        log_r_d, log_r_n = theta
        log_n, log_d = effective(*x, log_a, log_b, alpha, beta, log_r_d, log_r_n, xp)
        terms = (log_a - alpha * log_n, log_b - beta * log_d)
        return xp.logaddexp(xp.logaddexp(*terms), log_e)

    return Direct(
        name="data_constrained_fixed",
        equation=_EQUATION + ", single-epoch parameters held",
        source=_SOURCE,
        variables=VARIABLES,
        parameters=_STARS,
        response=response,
        natural=_STAR_READINGS,
    )
