"""The family of forms that most published laws belong to: a power of a sum of power terms.

    L = ( sum_j exp(c_j) · X_j^(−gamma_j) )^kappa        so        ln L = kappa · logsumexp_j( c_j − gamma_j · x_j )

with x_j the logarithm of N, D or C, or absent for a constant. Chinchilla's L(N, D) has three terms and kappa = 1;
Kaplan's L(N, D) has two and a free kappa. Value, Jacobian and curvature are in closed form.
"""

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

EXPONENTS = (0.02, 4.0)
OUTER_EXPONENTS = (0.01, 4.0)
# A term below exp(-12) of the loss at the table's centre is not there, and its logarithm would run to minus infinity.
_SMALLEST_TERM = -12.0
_GRID = {1: 96, 2: 24, 3: 10}
_BEST_STARTS = 16
_SPREAD_BLOCKS = 4


@dataclasses.dataclass(frozen=True)
class Term:
    """One summand exp(coefficient) · X^(−exponent).

    Attributes:
      coefficient: name of its logarithmic coefficient.
      variable: column of x, or None for a constant.
      exponent: name of its exponent, or None for an exponent fixed at 1.
    """

    coefficient: str
    variable: int | None = None
    exponent: str | None = None


@dataclasses.dataclass(frozen=True)
class PowerSum:
    """A form of the family; see :class:`analysis.laws.fitting.engine.Form`.

    Attributes:
      terms: the summands.
      outer: name of kappa, or None for kappa = 1.
    """

    terms: tuple[Term, ...]
    outer: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Coefficients, then exponents, then kappa: the order of theta."""
        exponents = tuple(term.exponent for term in self.terms if term.exponent)
        return (*(term.coefficient for term in self.terms), *exponents, *((self.outer,) if self.outer else ()))

    def _exponent_columns(self) -> list[int | None]:
        """Where each term's exponent stands in theta."""
        counter = itertools.count(len(self.terms))
        return [next(counter) if term.exponent else None for term in self.terms]

    def _shares(self, theta_RxP: FloatArray, x_KxV: FloatArray) -> tuple[FloatArray, FloatArray]:
        """logsumexp [R, K], and the share of each term in the sum [T, R, K]."""
        u_TxRxK = np.empty((len(self.terms), len(theta_RxP), len(x_KxV)), theta_RxP.dtype)
        for j, (term, column) in enumerate(zip(self.terms, self._exponent_columns(), strict=True)):
            u_TxRxK[j] = theta_RxP[:, j, None]
            if term.variable is not None:
                exponent = 1.0 if column is None else theta_RxP[:, column, None]
                u_TxRxK[j] -= exponent * x_KxV[None, :, term.variable]
        largest = u_TxRxK.max(axis=0)
        np.exp(u_TxRxK - largest, out=u_TxRxK)
        total = u_TxRxK.sum(axis=0)
        u_TxRxK /= total
        return largest + np.log(total), u_TxRxK

    def value(self, theta_RxP: FloatArray, x_KxV: FloatArray) -> FloatArray:
        """ln L, float64[R, K]."""
        sum_RxK, _ = self._shares(theta_RxP, x_KxV)
        return sum_RxK if self.outer is None else theta_RxP[:, -1:] * sum_RxK

    def value_and_jacobian(self, theta_RxP: FloatArray, x_KxV: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ln L, float64[R, K], and its derivatives, float64[R, P, K]."""
        sum_RxK, share_TxRxK = self._shares(theta_RxP, x_KxV)
        jacobian = np.empty((len(theta_RxP), len(self.names), len(x_KxV)))
        for j, (term, column) in enumerate(zip(self.terms, self._exponent_columns(), strict=True)):
            jacobian[:, j] = share_TxRxK[j]
            if column is not None:
                np.multiply(share_TxRxK[j], -x_KxV[None, :, term.variable], out=jacobian[:, column])
        if self.outer is None:
            return sum_RxK, jacobian
        kappa = theta_RxP[:, -1:]
        jacobian[:, :-1] *= kappa[:, :, None]
        jacobian[:, -1] = sum_RxK
        return kappa * sum_RxK, jacobian

    def curvature(self, theta_RxP: FloatArray, x_KxV: FloatArray, g_RxK: FloatArray) -> FloatArray:
        """sum_k g_k · Hessian of ln L at k, float64[R, P, P].

        The Hessian of a logsumexp is the covariance, under the shares, of the gradients of its arguments.
        """
        _, share_TxRxK = self._shares(theta_RxP, x_KxV)
        count = len(self.names)
        inner = np.zeros((len(theta_RxP), count, len(x_KxV)))
        second = np.zeros((len(theta_RxP), count, count))
        for j, (term, column) in enumerate(zip(self.terms, self._exponent_columns(), strict=True)):
            share = share_TxRxK[j]
            weighted = g_RxK * share
            inner[:, j] = share
            second[:, j, j] = weighted.sum(axis=1)
            if column is not None:
                x_K = x_KxV[:, term.variable]
                inner[:, column] = -share * x_K
                second[:, j, column] = second[:, column, j] = -(weighted @ x_K)
                second[:, column, column] = weighted @ (x_K * x_K)
        second -= np.matmul(inner * g_RxK[:, None, :], inner.transpose(0, 2, 1))
        if self.outer is not None:
            second *= theta_RxP[:, -1, None, None]
            cross = np.matmul(inner, g_RxK[:, :, None])[:, :, 0]
            second[:, :, -1] += cross
            second[:, -1, :] += cross
        return second

    def bounds(self, y_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest parameters, in centred coordinates."""
        low, high = np.empty(len(self.names)), np.empty(len(self.names))
        # With kappa free the sum is L^(1/kappa), whose logarithm has a larger range.
        stretch = 1.0 if self.outer is None else 1.0 / OUTER_EXPONENTS[0]
        count = len(self.terms)
        low[:count], high[:count] = stretch * (min(y_K.min(), 0.0) + _SMALLEST_TERM), stretch * (abs(y_K).max() + 12.0)
        low[count:], high[count:] = EXPONENTS
        if self.outer is not None:
            low[-1], high[-1] = OUTER_EXPONENTS
        return low, high

    def starts(self, x_KxV: FloatArray, y_K: FloatArray, w_K: FloatArray) -> FloatArray:
        """Variable projection: on a grid of exponents, coefficients by linear least squares of relative errors.

        Kept are the best :data:`_BEST_STARTS` points whose coefficients are all positive, and the best point of every
        coarse block of the grid, so that a second basin is looked for and not merely absent from the list.
        """
        grid_SxQ, block_S = self._grid()
        theta_SxP, valid_S = self._project(grid_SxQ, x_KxV, y_K, w_K)
        residual = self.value(theta_SxP, x_KxV) - y_K
        score = np.where(valid_S, np.sum(w_K * np.abs(residual), axis=1), np.inf)
        if not valid_S.any():
            score = np.sum(w_K * np.abs(residual), axis=1)
        order = np.argsort(score, kind="stable")
        spread = [order[block_S[order] == block][0] for block in np.unique(block_S)]
        chosen = list(dict.fromkeys([*order[:_BEST_STARTS], *spread]))
        return theta_SxP[[index for index in chosen if np.isfinite(score[index])]]

    def _grid(self) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Grid points of (exponents, kappa), float64[S, Q], and each one's coarse block, int64[S]."""
        axes = [np.geomspace(0.04, 2.5, _GRID[self._free()]) for term in self.terms if term.exponent]
        if self.outer is not None:
            axes.append(np.geomspace(0.03, 1.0, _GRID[self._free()]))
        mesh = np.meshgrid(*axes, indexing="ij")
        block = np.zeros(mesh[0].shape, np.int64)
        for index in np.indices(mesh[0].shape):
            block = block * _SPREAD_BLOCKS + index * _SPREAD_BLOCKS // (index.max() + 1)
        return np.stack([axis.ravel() for axis in mesh], axis=1), block.ravel()

    def _free(self) -> int:
        return sum(term.exponent is not None for term in self.terms) + (self.outer is not None)

    def _project(
        self, grid_SxQ: FloatArray, x_KxV: FloatArray, y_K: FloatArray, w_K: FloatArray
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        kappa_S = np.ones(len(grid_SxQ)) if self.outer is None else grid_SxQ[:, -1]
        exponents = iter(grid_SxQ.T)
        basis_SxKxT = np.ones((len(grid_SxQ), len(x_KxV), len(self.terms)))
        for j, term in enumerate(self.terms):
            if term.variable is not None:
                exponent_S = next(exponents) if term.exponent else np.ones(len(grid_SxQ))
                basis_SxKxT[:, :, j] = np.exp(-exponent_S[:, None] * x_KxV[None, :, term.variable])
        # Relative errors: the target L^(1/kappa) is divided out.
        scaled = basis_SxKxT * np.exp(-y_K[None, :] / kappa_S[:, None])[:, :, None]
        weighted = scaled * w_K[None, :, None]
        normal = np.matmul(weighted.transpose(0, 2, 1), scaled)
        normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(len(self.terms))
        coefficients = np.linalg.solve(normal, weighted.sum(axis=1)[:, :, None])[:, :, 0]
        valid_S = (coefficients > 0).all(axis=1)
        # Where a coefficient came out negative its term starts small; such points serve only if there is no other.
        floor = 1e-3 * np.abs(coefficients).max(axis=1, keepdims=True)
        theta = np.concatenate([np.log(np.maximum(coefficients, floor)), grid_SxQ], axis=1)
        return theta, valid_S
