"""One optimiser for every law: damped Newton on a sum of losses, batched over starts, replicates and tables by JAX.

The engine minimises

    sum_k w_k · loss( f(theta, x_k), y_k )

for many problems at once. A fixed number of lanes works through a pool of problems inside one compiled loop: a lane that
has converged writes its result and takes the next problem, so the hard problems do not keep the easy ones waiting.
Shapes are padded to a few sizes, so one form compiles once for tables of similar length. All arithmetic is float64, which
is checked.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from analysis.laws.fitting.objectives import Objective
from analysis.laws.forms.form import Form
from analysis.laws.result import ACCEPTED_GRADIENT

FloatArray = npt.NDArray[np.float64]

GRADIENT_TOLERANCE = 1e-11
# Most problems take ten to thirty steps. Those that do not (a vanishing E is a long curved valley) go on together, so that they
# do not hold up a pool each.
FIRST_STEPS, MOST_STEPS = 60, 1500
_MOST_REJECTIONS = 12
_POOL = 512
# Few lanes: the last problems of a pool keep all of them busy.
_LANE_ELEMENTS = 2048
_FEWEST_LANES, _MOST_LANES = 8, 64
_SHORTEST = 32
_ENDS = ("theta", "objective", "gradient_relative")


@dataclasses.dataclass(frozen=True)
class Minimum:
    """Where each problem ended: parameters [R, P], objective [R] and relative gradient [R]."""

    theta: FloatArray
    objective: FloatArray
    gradient_relative: FloatArray

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Which problems are at an optimum, bool[R]; looser than the stop, which rounding may miss."""
        return self.gradient_relative < ACCEPTED_GRADIENT


def minimise(
    form: Form,
    objective: Objective,
    x: FloatArray,
    y_RxK: FloatArray,
    w_RxK: FloatArray,
    start_RxP: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    most_steps: int = MOST_STEPS,
) -> Minimum:
    """Minimises every problem from its start.

    Args:
      form: the law's form.
      objective: what is minimised.
      x: variables, [K, V], or [R, K, V] where every problem has a table of its own.
      y_RxK: responses; R may be 1 and broadcasts.
      w_RxK: weights (multiplicities of a bootstrap, zero for runs left out); R may be 1 and broadcasts.
      start_RxP: start points.
      bounds: lowest and highest parameters, [P] each.
      most_steps: trial steps at most.

    Raises:
      TypeError: an argument is not float64.
    """
    for name, array in (("x", x), ("y", y_RxK), ("w", w_RxK), ("start", start_RxP)):
        if array.dtype != np.float64:
            raise TypeError(f"{name} is {array.dtype}, and laws are fitted in float64")
    first = _minimise_all(form, objective, x, y_RxK, w_RxK, start_RxP, bounds, min(FIRST_STEPS, most_steps))
    rest = np.flatnonzero(~first.accepted)
    if not len(rest) or most_steps <= FIRST_STEPS:
        return first
    y, w = (array if len(array) == 1 else array[rest] for array in (y_RxK, w_RxK))
    x = x[rest] if x.ndim == 3 else x
    last = _minimise_all(form, objective, x, y, w, first.theta[rest], bounds, most_steps)
    for name in _ENDS:
        getattr(first, name)[rest] = getattr(last, name)
    return first


def _minimise_all(form, objective, x, y_RxK, w_RxK, start_RxP, bounds, most_steps) -> Minimum:  # noqa: ANN001 - as minimise
    """Pool by pool; what all problems share stays whole."""
    parts = []
    for first in range(0, len(start_RxP), _POOL):
        pool = slice(first, first + _POOL)
        y, w = (array if len(array) == 1 else array[pool] for array in (y_RxK, w_RxK))
        own = x[pool] if x.ndim == 3 else x
        parts.append(_minimise_pool(form, objective, own, y, w, start_RxP[pool], bounds, most_steps))
    return Minimum(*(np.concatenate([getattr(part, name) for part in parts]) for name in _ENDS))


def _minimise_pool(form, objective, x, y_RxK, w_RxK, start_RxP, bounds, most_steps) -> Minimum:  # noqa: ANN001 - as minimise
    count, length = len(start_RxP), y_RxK.shape[1]
    padded = max(_SHORTEST, 1 << (length - 1).bit_length())
    lanes = int(np.clip(_LANE_ELEMENTS // padded, _FEWEST_LANES, _MOST_LANES))

    def pool(array: FloatArray, columns: int) -> FloatArray:
        """Rows to the size of the pool, and runs of no weight to the padded length."""
        array = np.broadcast_to(array, (count, array.shape[1]))
        return np.pad(array, ((0, _POOL - count), (0, columns - array.shape[1])))

    own = x.ndim == 3
    along = ((0, padded - length), (0, 0))
    x = np.pad(x, ((0, _POOL - count), *along) if own else along)
    with jax.enable_x64(True):
        arrays = (x, pool(y_RxK, padded), pool(w_RxK, padded), pool(start_RxP, start_RxP.shape[1]), *bounds)
        found = _run(form, objective.point, lanes, objective.knob, count, most_steps, *arrays)
        theta, value, gradient = (np.asarray(item)[:count] for item in found)
    return Minimum(theta, value * objective.scale, gradient)


class _Local(NamedTuple):
    """The objective around one point of every lane."""

    theta: Any
    objective: Any
    gradient: Any
    newton: Any
    majoriser: Any
    relative: Any


class _Work(NamedTuple):
    """The state of the loop: every lane's problem and point, what is pending, what is done."""

    problem: Any
    here: _Local
    damping: Any
    rejected: Any
    steps: Any
    pending: Any
    theta: Any
    objective: Any
    relative: Any


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(form, point, lanes, knob, count, most_steps, x, y_RxK, w_RxK, start_RxP, low_P, high_P):  # noqa: ANN001, ANN202
    pool, size = start_RxP.shape
    start_RxP = jnp.clip(start_RxP, low_P[None], high_P[None])

    def evaluate(theta_P, problem):  # noqa: ANN001, ANN202 - one lane
        x_KxV = x[problem] if x.ndim == 3 else x
        return _evaluate(form, point, knob, x_KxV, y_RxK[problem], w_RxK[problem], theta_P, low_P, high_P)

    def advance(work: _Work) -> _Work:
        at = jnp.minimum(work.problem, pool - 1)
        fresh = work.steps == 0
        step = jnp.where(fresh[:, None], 0.0, _step(work.here, work.damping))
        trial = jax.vmap(evaluate)(jnp.clip(work.here.theta + step, low_P[None], high_P[None]), at)
        # At the level of rounding the objective no longer tells; the gradient does.
        equal = trial.objective <= work.here.objective * (1 + 1e-13)
        accept = fresh | (trial.objective < work.here.objective) | (equal & (trial.relative < work.here.relative))
        here = jax.tree.map(lambda new, old: jnp.where(_like(accept, new), new, old), trial, work.here)
        damping = jnp.where(
            accept, jnp.where(work.damping < 1e-9, 0.0, work.damping / 8), jnp.maximum(work.damping * 6, 1e-3)
        )
        rejected = jnp.where(accept, 0, work.rejected + 1)
        moved = work._replace(here=here, damping=damping, rejected=rejected, steps=work.steps + 1)
        return _hand_over(moved, start_RxP, count, most_steps)

    first = jnp.where(jnp.arange(lanes) < count, jnp.arange(lanes), pool)
    blank = jnp.zeros((lanes, size, size))
    unknown = jnp.full(lanes, jnp.inf)
    here = _Local(start_RxP[jnp.minimum(first, pool - 1)], unknown, jnp.zeros((lanes, size)), blank, blank, unknown)
    zeros = jnp.zeros(lanes, jnp.int64)
    work = _Work(
        first, here, jnp.ones(lanes), zeros, zeros, jnp.asarray(lanes), jnp.zeros_like(start_RxP), jnp.zeros(pool), jnp.full(pool, jnp.inf),
    )  # fmt: skip
    work = jax.lax.while_loop(lambda work: jnp.any(work.problem < pool), advance, work)
    return work.theta, work.objective, work.relative


def _hand_over(work: _Work, start_RxP, count, most_steps) -> _Work:  # noqa: ANN001 - arrays
    """Writes down what has finished and gives its lanes the next pending problems; a lane without one points past the pool."""
    pool, here = len(start_RxP), work.here
    done = (here.relative < GRADIENT_TOLERANCE) | (work.rejected >= _MOST_REJECTIONS) | (work.steps >= most_steps)
    done &= work.problem < pool
    where = jnp.where(done, work.problem, pool)
    following = work.pending + jnp.cumsum(done) - 1
    problem = jnp.where(done, jnp.where(following < count, following, pool), work.problem)
    start = start_RxP[jnp.minimum(problem, pool - 1)]
    return work._replace(
        problem=problem,
        here=here._replace(theta=jnp.where(done[:, None], start, here.theta)),
        damping=jnp.where(done, 1.0, work.damping),
        rejected=jnp.where(done, 0, work.rejected),
        steps=jnp.where(done, 0, work.steps),
        pending=work.pending + jnp.sum(done),
        theta=work.theta.at[where].set(here.theta, mode="drop"),
        objective=work.objective.at[where].set(here.objective, mode="drop"),
        relative=work.relative.at[where].set(here.relative, mode="drop"),
    )


def _like(where, array):  # noqa: ANN001, ANN202
    return where.reshape(where.shape + (1,) * (array.ndim - 1))


def _evaluate(form, point, knob, x_KxV, y_K, w_K, theta_P, low_P, high_P) -> _Local:  # noqa: ANN001 - arrays
    """Objective, gradient and two models of its curvature at one point of one problem.

    The majoriser is safe and positive definite. Newton's matrix keeps the loss's own curvature and adds that of the form.
    """

    def response(theta_P, x_V):  # noqa: ANN001, ANN202 - of one run
        return form.value(tuple(theta_P), tuple(x_V), jnp)

    value_K, jacobian_KxP = jax.vmap(jax.value_and_grad(response), (None, 0))(theta_P, x_KxV)
    loss_K, slope_K, curvature_K, majoriser_K = point(value_K, y_K, knob)
    g_K = w_K * slope_K
    gradient = g_K @ jacobian_KxP
    bending = jax.hessian(lambda theta: g_K @ jax.vmap(response, (None, 0))(theta, x_KxV))(theta_P)
    newton = (jacobian_KxP * (w_K * curvature_K)[:, None]).T @ jacobian_KxP + bending
    majoriser = (jacobian_KxP * (w_K * majoriser_K)[:, None]).T @ jacobian_KxP
    scale = w_K @ jnp.abs(jacobian_KxP) + 1e-300
    # A parameter that is pressed against its bound is held there.
    held = ((theta_P <= low_P) & (gradient > 0)) | ((theta_P >= high_P) & (gradient < 0))
    gradient = jnp.where(held, 0.0, gradient)
    crossed = held[:, None] | held[None, :]
    newton = jnp.where(crossed, 0.0, newton)
    majoriser = jnp.where(crossed, jnp.diag(held.astype(majoriser.dtype)), majoriser)
    return _Local(theta_P, w_K @ loss_K, gradient, newton, majoriser, jnp.max(jnp.abs(gradient) / scale))


def _step(here: _Local, damping_B):  # noqa: ANN001, ANN202 - arrays
    """The damped Newton step, measured in the majoriser, so that damping has no units; no parameter moves by more than 2."""
    small = 1e-13 * jnp.diagonal(here.majoriser, axis1=1, axis2=2) + 1e-300
    matrix = here.newton + damping_B[:, None, None] * here.majoriser + jax.vmap(jnp.diag)(small)
    step = -jax.vmap(_solved)(matrix, here.gradient)
    longest = jnp.max(jnp.abs(step), axis=1, keepdims=True)
    step = step * jnp.minimum(1.0, 2.0 / jnp.maximum(longest, 1e-300))
    # A singular matrix gives no step; the lane then only raises its damping.
    return jnp.where(jnp.isfinite(step), step, 0.0)


def _solved(matrix_PxP, right_P):  # noqa: ANN001, ANN202 - arrays
    """The solution of a small linear system by Gauss-Jordan elimination with row pivots.

    For systems of a handful of unknowns it compiles in a fraction of the time of the batched LAPACK call, and runs as fast.
    """
    size = len(right_P)

    def eliminate(k, rows):  # noqa: ANN001, ANN202
        below = jnp.where(jnp.arange(size) < k, -1.0, jnp.abs(rows[:, k]))
        pivot = jnp.argmax(below)
        upper, lower = rows[k], rows[pivot]
        rows = rows.at[pivot].set(upper).at[k].set(lower / lower[k])
        factor = jnp.where(jnp.arange(size) == k, 0.0, rows[:, k])
        return rows - factor[:, None] * rows[k][None, :]

    rows = jnp.concatenate([matrix_PxP, right_P[:, None]], axis=1)
    return jax.lax.fori_loop(0, size, eliminate, rows)[:, size]
