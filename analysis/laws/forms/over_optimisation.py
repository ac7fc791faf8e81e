"""Over-optimisation of a reward model: the gold reward as optimisation moves away from the initial policy.

    best-of-n   R(d) = d·(alpha − beta·d)
    RL          R(d) = d·(alpha − beta·ln d)            with d = sqrt(KL(pi || pi_0)) in nats^½

(Gao, Schulman and Hilton 2022, arXiv:2210.10760, eq. 1 and 2; the RL form also describes direct alignment, Rafailov et al.
2024, arXiv:2406.02900.) For best-of-n, KL is known: ln n − (n − 1)/n. Both are linear in alpha and beta, so a fit has one optimum.
The response is the reward itself, gold reward of the initial policy subtracted, and not its logarithm.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.forms.form import Direct, Parameter

FloatArray = npt.NDArray[np.float64]

_SOURCE = "Gao et al. 2022 (arXiv:2210.10760)"
_WIDE = (
    Parameter("alpha", -1e6, 1e6, -1.0, 3.0, logarithmic=False),
    Parameter("beta", -1e6, 1e6, -1.0, 3.0, logarithmic=False),
)
VARIABLES = ("distance",)


def best_of_n_kl(n):  # noqa: ANN001, ANN201 - int or array of them
    """KL(best of n || initial policy) in nats, ln n − (n − 1)/n."""
    n = np.asarray(n, np.float64)
    return np.log(n) - (n - 1) / n


def _best_of_n(theta, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    alpha, beta = theta
    d = xp.exp(x[0])
    return d * (alpha - beta * d)


def _rl(theta, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    alpha, beta = theta
    return xp.exp(x[0]) * (alpha - beta * x[0])


def _readings(peak, height):  # noqa: ANN001, ANN202 - functions of alpha and beta
    natural = {"alpha": lambda theta: theta[:, 0], "beta": lambda theta: theta[:, 1]}
    derived = {
        "peak_distance": lambda theta: peak(theta[:, 0], theta[:, 1]),
        "peak_reward": lambda theta: height(theta[:, 0], theta[:, 1]),
    }
    return natural, derived


def _where_it_turns(beta, value):  # noqa: ANN001, ANN202
    """There is a peak only where beta is positive."""
    with np.errstate(all="ignore"):
        return np.where(beta > 0, value(), np.inf)


_BON = _readings(
    lambda alpha, beta: _where_it_turns(beta, lambda: alpha / (2 * beta)),
    lambda alpha, beta: _where_it_turns(beta, lambda: alpha**2 / (4 * beta)),
)
_RL = _readings(
    lambda alpha, beta: _where_it_turns(beta, lambda: np.exp(alpha / beta - 1)),
    lambda alpha, beta: _where_it_turns(beta, lambda: beta * np.exp(alpha / beta - 1)),
)

BEST_OF_N = Direct(
    name="over_optimisation_best_of_n",
    equation="R(d) = d·(alpha - beta·d), d = sqrt(KL)",
    source=f"{_SOURCE}, eq. 1",
    variables=VARIABLES,
    parameters=_WIDE,
    response=_best_of_n,
    natural=_BON[0],
    derived=_BON[1],
)
RL = Direct(
    name="over_optimisation_rl",
    equation="R(d) = d·(alpha - beta·ln d), d = sqrt(KL)",
    source=f"{_SOURCE}, eq. 2",
    variables=VARIABLES,
    parameters=_WIDE,
    response=_rl,
    natural=_RL[0],
    derived=_RL[1],
)
# The equation of RL under its own name and source: what is fitted is a win rate (that of the initial policy subtracted) or a reward.
DIRECT_ALIGNMENT = dataclasses.replace(
    RL,
    name="over_optimisation_direct_alignment",
    source="Rafailov et al. 2024 (arXiv:2406.02900), with eq. 2 of Gao et al. 2022 (arXiv:2210.10760)",
)


def basis(form: Direct, distance_K: FloatArray) -> FloatArray:
    """The columns that alpha and beta multiply, float64 [K, 2]: (d, -d^2) or (d, -d ln d)."""
    bend_K = distance_K if form is BEST_OF_N else np.log(distance_K)
    return np.stack([distance_K, -distance_K * bend_K], axis=1)


def slope_argument(form: Direct, distance: float) -> float:
    """u(d) of the slope R'(d) = alpha - beta·u(d): 2d for best-of-n, 1 + ln d for RL."""
    return 2 * distance if form is BEST_OF_N else 1 + np.log(distance)


def distance_of_slope_argument(form: Direct, u: float) -> float:
    """The distance d at which u(d) = u; 0 where there is none above it."""
    if form is BEST_OF_N:
        return max(0.0, u / 2)
    with np.errstate(over="ignore"):  # so far away that it is nowhere
        return float(np.exp(u - 1))


def log_peak_gradient(form: Direct, theta_P: FloatArray) -> FloatArray:
    """d ln R* / d(alpha, beta), float64 [2], where alpha and beta are positive."""
    alpha, beta = theta_P
    if form is BEST_OF_N:
        return np.array([2 / alpha, -1 / beta])
    return np.array([1 / beta, 1 / beta - alpha / beta**2])
