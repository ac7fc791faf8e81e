"""Chinchilla, approach 2: the minimum of an IsoFLOP parabola at every compute budget.

At each budget a parabola in ln N (and one in ln D) is fitted to the loss; its vertex is the optimum, and power laws of
compute go through the optima. Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2. Budgets are those of the *actual*
FLOPs, within 10% of each other; D is never derived from C. A budget counts where its vertex lies between its sizes and
its lowest measured loss is not at an edge: a vertex inside beside losses that fall to the last size is the parabola's
doing, and where the valley turns was not seen.

A parabola through a valley that is no parabola puts its vertex off the optimum, by a factor that hardly depends on the
budget; the size of that bias under the fitted parametric law is reported, and a bias-corrected exponent beside the
plain one.
"""

import collections
import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import curves, frontier, optimal
from analysis.laws.result import NotFitted, Result, estimate
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_isoflop"
EQUATION = "N_opt = k_N·C^a, D_opt = k_D·C^b from the vertices of IsoFLOP parabolas; L_opt = E + A/C^gamma"
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 2"

BUDGET_TOLERANCE = 0.1
MINIMUM_SIZES = 3
_ENOUGH_SIZES = 5
_INTERPOLATED_BUDGETS = 8
_BIAS_WORTH_SAYING = 0.03
_SIGNIFICANT = 0.01
_DRAWS_FOR_TEST = 99


@dataclasses.dataclass(frozen=True)
class Slice:
    """One IsoFLOP budget: ln C, and ln N, ln D and the reading of ln L [S, K] at its S sizes."""

    log_flops: float
    log_params: FloatArray
    log_tokens: FloatArray
    reading: FloatArray


def slices(table: RunsTable) -> tuple[list[Slice], bool]:
    """The budgets of a table, and whether they had to be interpolated along each size's curve."""
    trained = _trained_slices(table)
    covered = sum(np.count_nonzero(part.reading.any(axis=0)) for part in trained)
    if len(trained) >= 2 and covered >= 0.6 * len(table):
        return trained, False
    return _interpolated_slices(table), True


def _trained_slices(table: RunsTable) -> list[Slice]:
    log_flops, size_K = table.log("flops"), table.codes("params")
    budget_K = grouped(log_flops, BUDGET_TOLERANCE)
    found = []
    for budget in np.unique(budget_K):
        rows = np.flatnonzero(budget_K == budget)
        sizes = np.unique(size_K[rows])
        if len(sizes) < MINIMUM_SIZES or np.ptp(log_flops[rows]) > 2 * BUDGET_TOLERANCE:
            continue
        average = (size_K[None, :] == sizes[:, None]) & (budget_K == budget)[None, :]
        reading = average / average.sum(axis=1, keepdims=True)
        found.append(
            Slice(float(log_flops[rows].mean()), reading @ table.log("params"), reading @ table.log("tokens"), reading)
        )
    return found


def _interpolated_slices(table: RunsTable) -> list[Slice]:
    lines = curves.size_curves(table)
    grid = np.linspace(table.log("flops").min(), table.log("flops").max(), 200)
    cover = np.array([sum(line.covers(c) for line in lines) for c in grid])
    needed = max(MINIMUM_SIZES, min(_ENOUGH_SIZES, int(cover.max()) - 1))
    usable = grid[cover >= needed]
    if not len(usable):
        return []
    found = []
    for log_flops in np.linspace(usable[0], usable[-1], _INTERPOLATED_BUDGETS):
        here = [line for line in lines if line.covers(log_flops)]
        if len(here) >= MINIMUM_SIZES:
            found.append(Slice(
                float(log_flops), np.array([line.log_params for line in here]),
                np.array([float(line.tokens_at(log_flops)) for line in here]),
                np.stack([line.reading(log_flops) for line in here]),
            ))  # fmt: skip
    return found


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


def lowest_inside(log_loss_RxS: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether the lowest loss of every row is at neither edge of its sizes, bool[R]."""
    lowest_R = np.argmin(log_loss_RxS, axis=1)
    return (lowest_R > 0) & (lowest_R < log_loss_RxS.shape[1] - 1)


def _optima(part: Slice, table: RunsTable, draws: bootstrap.Draws) -> tuple[Vertices, Vertices, str]:
    """Vertices in ln N and ln D for the table and every draw, and why the budget is left out (empty where it is not)."""
    log_loss = frontier.resampled(part.reading, table.log("loss"), draws)
    in_n, in_d = vertices(part.log_params, log_loss), vertices(part.log_tokens, log_loss)
    seen = lowest_inside(log_loss)
    reason = ""
    if not in_n.upward[0]:
        reason = "its parabola opens downward"
    elif not (in_n.inside[0] and in_d.inside[0]):
        reason = "its parabola has no minimum inside its sizes"
    elif not seen[0]:
        reason = "its lowest loss is that of its smallest or largest size"
    return _only(in_n, seen), _only(in_d, seen), reason


def _only(found: Vertices, seen_R: npt.NDArray[np.bool_]) -> Vertices:
    return dataclasses.replace(
        found,
        position=np.where(seen_R, found.position, np.nan),
        log_loss=np.where(seen_R, found.log_loss, np.nan),
        inside=found.inside & seen_R,
    )


def fit(
    table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9, surface: Result | None = None
) -> Result | NotFitted:
    """Fits approach 2.

    Args:
      table: the runs.
      draws: bootstrap draws of its rows; the noise scheme is used.
      level: coverage of the intervals.
      surface: a fitted L(N, D), for the estimate of the parabolas' bias.
    """
    found, interpolated = slices(table)
    flags = []
    if interpolated:
        flags.append(
            "the sweep has no IsoFLOP budgets: slices were read off each size's loss along its token budgets (at most cubic in ln C), "
            "and are not independent"
        )
    kept, by_n, by_d, left_out = [], [], [], collections.defaultdict(list)
    for part in found:
        in_n, in_d, reason = _optima(part, table, draws)
        if reason:
            left_out[reason].append(part.log_flops)
            continue
        kept.append(part)
        by_n.append(in_n)
        by_d.append(in_d)
    for why, budgets in left_out.items():
        flags.append(f"left out, because {why}: {', '.join(f'{np.exp(c):.2e}' for c in budgets)} FLOPs")
    if len(kept) < 2:
        reason = f"{len(found)} compute budgets hold at least {MINIMUM_SIZES} sizes, {len(kept)} of them show a minimum inside"
        return NotFitted(NAME, EQUATION, SOURCE, "; ".join([reason, *flags]))
    if len(kept) < 4:
        flags.append(f"only {len(kept)} budgets show a minimum inside")
    thin = sum(len(part.log_params) < _ENOUGH_SIZES for part in kept)
    if thin:
        flags.append(f"{thin} of {len(kept)} parabolas go through fewer than {_ENOUGH_SIZES} sizes")
    flags += _misfit(kept, table, draws)
    log_params = np.stack([item.position for item in by_n], axis=1)
    points = frontier.Points(
        np.array([part.log_flops for part in kept]), log_params, np.stack([item.position for item in by_d], axis=1),
        np.stack([item.log_loss for item in by_n], axis=1), _weights(log_params),
    )  # fmt: skip
    extra, bias_flags, bias_B = _bias(kept, points, table, surface, level, draws)
    lost = 1 - np.isfinite(log_params[1:]).mean(axis=0) if len(draws) else np.zeros(len(kept))
    if lost.max() > 0.1:
        flags.append(
            f"in up to {100 * lost.max():.0f}% of replicates a budget lost its minimum: the valleys are flat for this noise"
        )
    used = np.unique(np.concatenate([np.flatnonzero(part.reading.any(axis=0)) for part in kept]))
    return frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level,
        method=draws.method_of_readings, flags=(*flags, *bias_flags),
        run_ids=tuple(table.frame["run_id"].iloc[used]), extra=extra,
        details={"slices": kept, "points": points, "interpolated": interpolated, "bias": bias_B},
    )  # fmt: skip


def _weights(log_params_RxB: FloatArray) -> FloatArray:
    """1/Var(ln N_opt) over the replicates of each budget; equal where there are none."""
    if len(log_params_RxB) < 20:
        return np.ones(log_params_RxB.shape[1])
    with np.errstate(invalid="ignore"):
        variance = np.nanvar(log_params_RxB[1:], axis=0)
    share = np.isfinite(log_params_RxB[1:]).mean(axis=0)
    floor = max(float(np.nanmedian(variance)) * 1e-2, 1e-12)
    return share / np.maximum(np.where(np.isfinite(variance), variance, np.inf), floor)


def _misfit(kept: list[Slice], table: RunsTable, draws: bootstrap.Draws) -> list[str]:
    """Says where a parabola misses its points by more than the noise alone would make it, in all but 1% of the draws."""
    if len(draws) < _DRAWS_FOR_TEST or not draws.noise_RxK.any():
        return []
    missed = []
    for part in kept:
        loss_S = np.exp(part.reading @ table.log("loss"))
        own = _squares(part.log_params, loss_S[None])[0]
        by_noise = _squares(part.log_params, loss_S * (draws.noise_RxK @ part.reading.T))
        if own > np.quantile(by_noise, 1 - _SIGNIFICANT):
            missed.append(f"{np.exp(part.log_flops):.2e}")
    if not missed:
        return []
    return [
        f"a parabola misses its points by more than noise (at 1%) at {', '.join(missed)} FLOPs: the valley is none there"
    ]


def _squares(x_S: FloatArray, loss_RxS: FloatArray) -> FloatArray:
    """Sums of squares that a parabola leaves of every row, float64[R]."""
    basis = np.vander(x_S - x_S.mean(), 3)
    return np.sum((loss_RxS - loss_RxS @ np.linalg.pinv(basis).T @ basis.T) ** 2, axis=1)


def _bias(kept, points, table, surface, level, draws):  # noqa: ANN001, ANN202 - one step of fit
    """ln N of the parabola's vertex minus that of the true optimum, were the fitted surface the truth, by budget."""
    if surface is None:
        return {}, (), np.zeros(len(kept))
    cost = optimal.cost_of(table)
    bias = []
    for part in kept:
        smooth = surface.log_loss(np.exp(part.log_params), np.exp(part.log_tokens))
        vertex = vertices(part.log_params, smooth[None]).position[0]
        bias.append(vertex - optimal.optimum(surface.theta[None], part.log_flops, cost).log_params[0])
    bias_B = np.array(bias)
    if not np.isfinite(bias_B).all():
        return {}, ("the bias of the parabolas could not be estimated",), bias_B
    corrected = frontier.Points(
        points.log_flops, points.log_params - bias_B, points.log_tokens, points.log_loss, points.weights
    )
    slope = frontier.line(corrected.log_flops, corrected.log_params, corrected.weights)[1]
    method = draws.method_of_readings
    extra = {
        # Of the budget where it is largest: the mean of biases of either sign would hide them.
        "bias_of_N_opt": estimate(float(np.expm1(bias_B[np.argmax(np.abs(bias_B))])), np.zeros(0), level, ""),
        "a_bias_corrected": estimate(slope[0], slope[1:], level, method),
    }
    flags = ()
    if np.abs(bias_B).max() > _BIAS_WORTH_SAYING:
        low, high = (100 * (np.exp(bound) - 1) + 0.0 for bound in (bias_B.min(), bias_B.max()))
        flags = (
            f"known bias of approach 2: under the fitted parametric law its parabolas put N_opt off by {low:+.1f}% to {high:+.1f}% "
            "(a_bias_corrected allows for it)",
        )
    return extra, flags, bias_B
