"""Where a fit starts: variable projection for sums of terms, a low-discrepancy sequence for everything else.

Kept are the best points, and the best of every coarse block of the space, so that a second basin is looked for and not
merely absent from the list.
"""

import functools

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from analysis.laws.forms.form import Direct, Form, LogSum, Parameter, evaluate

FloatArray = npt.NDArray[np.float64]

_BEST = 16
# Grid points an axis, by how many parameters enter nonlinearly; more than three take the sequence.
_GRID = {0: 1, 1: 96, 2: 24, 3: 10}
_BLOCKS = {1: 4, 2: 4, 3: 4}
_SEQUENCE = 4096
_BLOCKED = 4


def starts(form: Form, x_KxV: FloatArray, y_K: FloatArray, w_K: FloatArray) -> FloatArray:
    """Start points, float64[S, P].

    Args:
      form: the law's form.
      x_KxV: centred variables.
      y_K: responses.
      w_K: weights.
    """
    if isinstance(form, LogSum):
        shape_SxQ, block_S = candidates(form.shape)
        theta_SxP, valid_S = project(form, shape_SxQ, x_KxV, y_K, w_K)
    else:
        assert isinstance(form, Direct)
        theta_SxP, block_S = candidates(form.parameters, sequence=True)
        valid_S = np.ones(len(theta_SxP), bool)
    with np.errstate(all="ignore"):
        miss_S = np.abs(evaluate(form, theta_SxP, x_KxV) - y_K) @ w_K
    miss_S = np.where(np.isfinite(miss_S), miss_S, np.inf)
    if valid_S.any():
        miss_S = np.where(valid_S, miss_S, np.inf)
    order = np.argsort(miss_S, kind="stable")
    blocks = [order[np.argmax(block_S[order] == block)] for block in np.unique(block_S)]
    chosen = [index for index in dict.fromkeys([*order[:_BEST], *blocks]) if np.isfinite(miss_S[index])]
    return theta_SxP[chosen]


@functools.cache
def _sequence(dimensions: int) -> FloatArray:
    """Points of the unit cube, the same in every process."""
    return qmc.Sobol(dimensions, seed=0).random(_SEQUENCE)


def candidates(parameters: tuple[Parameter, ...], sequence: bool = False) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Points over the box of parameters, float64[S, Q], and the coarse block of each, int64[S]."""
    if len(parameters) > 3 or sequence:
        unit_SxQ = _sequence(len(parameters))
        first = (unit_SxQ[:, :_BLOCKED] > 0.5).astype(np.int64)
        columns = [parameter.at(unit_S) for parameter, unit_S in zip(parameters, unit_SxQ.T, strict=True)]
        return np.stack(columns, axis=1), first @ (1 << np.arange(first.shape[1]))
    points = _GRID[len(parameters)]
    if not parameters:
        return np.zeros((1, 0)), np.zeros(1, np.int64)
    mesh = np.meshgrid(*(parameter.grid(points) for parameter in parameters), indexing="ij")
    count = _BLOCKS[len(parameters)]
    block = np.zeros(mesh[0].shape, np.int64)
    for index in np.indices(mesh[0].shape):
        block = block * count + index * count // points
    return np.stack([axis.ravel() for axis in mesh], axis=1), block.ravel()


def project(
    form: LogSum, shape_SxQ: FloatArray, x_KxV: FloatArray, y_K: FloatArray, w_K: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Coefficients for every shape by linear least squares of relative errors: theta [S, P], and whether all were positive [S]."""
    shape = tuple(column[:, None] for column in shape_SxQ.T)
    terms = form.terms(shape, tuple(x_KxV.T[:, None, :]), np)
    kappa_S = shape_SxQ[:, -1] if form.outer else np.ones(len(shape_SxQ))
    full = (len(shape_SxQ), len(x_KxV))
    # Relative errors: the target L^(1/kappa) is divided out.
    target = y_K[None, :] / kappa_S[:, None]
    scaled = np.stack([np.exp(np.broadcast_to(term, full) - target) for term in terms], axis=2)
    weighted = scaled * w_K[None, :, None]
    normal = np.matmul(weighted.transpose(0, 2, 1), scaled)
    normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(len(terms))
    coefficients = np.linalg.solve(normal, weighted.sum(axis=1)[:, :, None])[:, :, 0]
    valid_S = (coefficients > 0).all(axis=1)
    # Where a coefficient came out negative its term starts small; such points serve only if there is no other.
    floor = 1e-3 * np.abs(coefficients).max(axis=1, keepdims=True)
    return np.concatenate([np.log(np.maximum(coefficients, floor)), shape_SxQ], axis=1), valid_S
