"""The parabola through an IsoFLOP slice, its vertex, and how far from the optimum a parabola puts it.

Along a budget the Chinchilla law is a valley with unequal walls: with u = ln(N/N_opt) and C = 6·N·D its reducible loss is
P·exp(−alpha·u) + R·exp(beta·u), and alpha·P = beta·R at the optimum. A least-squares parabola through it puts its vertex off
u = 0 by an amount that depends on alpha, beta and the grid of u alone: not on A, B, E or C. So a grid that is centred alike at
every budget moves N_opt by a constant factor and leaves the exponent exact; a grid whose centre drifts bends the exponent too.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Sizes whose logarithms lie this symmetrically about the optimum are a centred grid.
_CENTRED = 1e-6


@dataclasses.dataclass(frozen=True)
class Vertices:
    """Vertices of parabolas through rows of losses [R, S]: position ln X, ln L, and whether a minimum lies inside, each [R]."""

    position: FloatArray
    log_loss: FloatArray
    upward: npt.NDArray[np.bool_]
    inside: npt.NDArray[np.bool_]


def vertices(x_S: FloatArray, log_loss_RxS: FloatArray) -> Vertices:
    """Fits L = c0 + c1·u + c2·u², u = x − mean(x), to every row by least squares."""
    u_S = x_S - x_S.mean()
    coefficients = np.exp(log_loss_RxS) @ np.linalg.pinv(np.stack([np.ones_like(u_S), u_S, u_S**2], axis=1)).T
    c0, c1, c2 = coefficients.T
    upward = c2 > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        position = -c1 / (2 * c2)
        loss = c0 - c1**2 / (4 * c2)
    inside = upward & (position > u_S.min()) & (position < u_S.max()) & (loss > 0)
    position, loss = np.where(inside, position, np.nan), np.where(inside, loss, np.nan)
    return Vertices(position + x_S.mean(), np.log(loss), upward, inside)


def squares_left(x_S: FloatArray, loss_RxS: FloatArray) -> FloatArray:
    """Sums of squares that a parabola leaves of every row, float64[R]."""
    basis = np.vander(x_S - x_S.mean(), 3)
    return np.sum((loss_RxS - loss_RxS @ np.linalg.pinv(basis).T @ basis.T) ** 2, axis=1)


def is_centred(u_S: FloatArray) -> bool:
    """Whether a grid of u = ln(N/N_opt) lies symmetrically about the optimum."""
    ascending = np.sort(u_S)
    return bool(np.max(np.abs(ascending + ascending[::-1])) <= _CENTRED)


def bias_of_centred(alpha: float, beta: float, u_S: FloatArray) -> float:
    """ln N of the vertex minus ln N_opt on a centred grid, without noise, in closed form.

    The odd part of the valley gives the parabola its slope and the even part its curvature, since a centred grid keeps them
    apart:

        δ = −½·[Σu·(R·sinh βu − P·sinh αu)/Σu²] / {[n·Σu²·V − Σu²·ΣV]/[n·Σu⁴ − (Σu²)²]},  V = P·cosh αu + R·cosh βu

    with P = beta, R = alpha up to a common factor. For narrow grids it is (alpha − beta)/6·Σu⁴/Σu².

    Args:
      alpha: exponent of N in the law.
      beta: exponent of D.
      u_S: ln(N/N_opt) of the sizes, at least three.

    Raises:
      ValueError: the grid is not centred; see :func:`bias`.
    """
    if not is_centred(u_S):
        raise ValueError("the closed form needs sizes that lie symmetrically about the optimum: use bias()")
    square = u_S**2
    odd = np.sum(u_S * (alpha * np.sinh(beta * u_S) - beta * np.sinh(alpha * u_S))) / square.sum()
    even = beta * np.cosh(alpha * u_S) + alpha * np.cosh(beta * u_S)
    count = len(u_S)
    curvature = (count * np.sum(square * even) - square.sum() * even.sum()) / (
        count * np.sum(square**2) - square.sum() ** 2
    )
    return float(-0.5 * odd / curvature)


def bias(alpha: float, beta: float, u_S: FloatArray) -> float:
    """ln N of the vertex minus ln N_opt on any grid with C = 6·N·D, without noise; NaN where the vertex is not inside.

    The closed form of a centred grid, and elsewhere the vertex of the parabola through the valley itself. That of ln D is
    `bias(beta, alpha, −u)`.

    Args:
      alpha: exponent of N in the law.
      beta: exponent of D.
      u_S: ln(N/N_opt) of the sizes, at least three.
    """
    if is_centred(u_S):
        return bias_of_centred(alpha, beta, u_S)
    valley = beta * np.exp(-alpha * u_S) + alpha * np.exp(beta * u_S)
    return float(vertices(u_S, np.log(valley)[None]).position[0])
