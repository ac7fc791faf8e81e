"""Chinchilla, approach 2: the minimum of an IsoFLOP parabola at every compute budget.

At each budget a parabola in ln N (and one in ln D) is fitted to the loss; its vertex is the optimum, and power laws of
compute go through the optima. Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2. A budget counts where it holds three sizes,
its vertex lies between them and its lowest measured loss is not at an edge.

A parabola through a valley that is no parabola puts its vertex off the optimum (:mod:`analysis.laws.optima.parabola`); that bias
under the fitted parametric law is reported, in closed form where the sizes are centred on the optimum and C = 6·N·D, and
numerically elsewhere, with bias-corrected exponents beside the plain ones. The variant that follows the points instead of a
parabola is :mod:`analysis.laws.optima.akima`.
"""

import collections
import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import frontier, optimal, parabola
from analysis.laws.optima.parabola import Vertices, vertices
from analysis.laws.optima.slices import (
    ENOUGH_SIZES,
    INTERPOLATED_FLAG,
    MINIMUM_SIZES,
    Slice,
    left_out_flag,
    lowest_inside,
    run_ids_of,
    slices,
)
from analysis.laws.result import Estimate, NotFitted, Result, estimate
from analysis.laws.tables.table import RunsTable

__all__ = ["NAME", "Slice", "fit", "slices", "vertices"]

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_isoflop"
EQUATION = "N_opt = k_N·C^a, D_opt = k_D·C^b from the vertices of IsoFLOP parabolas; L_opt = E + A/C^gamma"
SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 2"

_BIAS_WORTH_SAYING = 0.03
_SIGNIFICANT = 0.01
_DRAWS_FOR_TEST = 99


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
    flags = [INTERPOLATED_FLAG] if interpolated else []
    kept, by_n, by_d, left_out = [], [], [], collections.defaultdict(list)
    for part in found:
        in_n, in_d, reason = _optima(part, table, draws)
        if reason:
            left_out[reason].append(part.log_flops)
            continue
        kept.append(part)
        by_n.append(in_n)
        by_d.append(in_d)
    flags += [left_out_flag(why, budgets) for why, budgets in left_out.items()]
    if len(kept) < 2:
        reason = f"{len(found)} compute budgets hold at least {MINIMUM_SIZES} sizes, {len(kept)} of them show a minimum inside"
        return NotFitted(NAME, EQUATION, SOURCE, "; ".join([reason, *flags]))
    log_params = np.stack([item.position for item in by_n], axis=1)
    points = frontier.Points(
        np.array([part.log_flops for part in kept]), log_params, np.stack([item.position for item in by_d], axis=1),
        np.stack([item.log_loss for item in by_n], axis=1), _weights(log_params),
    )  # fmt: skip
    flags += [*_thin(kept), *_misfit(kept, table, draws)]
    bias = _bias(kept, points, table, surface, level, draws)
    lost = 1 - np.isfinite(log_params[1:]).mean(axis=0) if len(draws) else np.zeros(len(kept))
    if lost.max() > 0.1:
        flags.append(
            f"in up to {100 * lost.max():.0f}% of replicates a budget lost its minimum: the valleys are flat for this noise"
        )
    return frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level,
        method=draws.method_of_readings, flags=(*flags, *bias.flags),
        run_ids=run_ids_of(kept, table), extra=bias.estimates,
        details={"slices": kept, "points": points, "interpolated": interpolated, "bias": bias.log_params,
                 "bias_in_closed_form": bias.closed},
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


def _thin(kept: list[Slice]) -> list[str]:
    """Says where there are few budgets, or few sizes at them."""
    flags = [f"only {len(kept)} budgets show a minimum inside"] if len(kept) < 4 else []
    thin = sum(len(part.log_params) < ENOUGH_SIZES for part in kept)
    if thin:
        flags.append(f"{thin} of {len(kept)} parabolas go through fewer than {ENOUGH_SIZES} sizes")
    return flags


def _misfit(kept: list[Slice], table: RunsTable, draws: bootstrap.Draws) -> list[str]:
    """Says where a parabola misses its points by more than the noise alone would make it, in all but 1% of the draws."""
    if len(draws) < _DRAWS_FOR_TEST or not draws.noise_RxK.any():
        return []
    missed = []
    for part in kept:
        loss_S = np.exp(part.reading @ table.log("loss"))
        own = parabola.squares_left(part.log_params, loss_S[None])[0]
        by_noise = parabola.squares_left(part.log_params, loss_S * (draws.noise_RxK @ part.reading.T))
        if own > np.quantile(by_noise, 1 - _SIGNIFICANT):
            missed.append(f"{np.exp(part.log_flops):.2e}")
    if not missed:
        return []
    return [
        f"a parabola misses its points by more than noise (at 1%) at {', '.join(missed)} FLOPs: the valley is none there"
    ]


@dataclasses.dataclass(frozen=True)
class Bias:
    """Vertices minus true optima, were the fitted surface the truth: of ln N by budget [B], what follows, and how it was had."""

    log_params: FloatArray
    closed: tuple[bool, ...] = ()
    estimates: dict[str, Estimate] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()


def _bias(
    kept: list[Slice],
    points: frontier.Points,
    table: RunsTable,
    surface: Result | None,
    level: float,
    draws: bootstrap.Draws,
) -> Bias:
    """The bias of every budget's parabolas in ln N and ln D, and the exponents without it."""
    if surface is None:
        return Bias(np.zeros(len(kept)))
    cost = optimal.cost_of(table)
    of_budgets = [_bias_of(part, surface, cost) for part in kept]
    bias_n, bias_d = (np.array([item[index] for item in of_budgets]) for index in (0, 1))
    if not (np.isfinite(bias_n).all() and np.isfinite(bias_d).all()):
        return Bias(bias_n, flags=("the bias of the parabolas could not be estimated",))
    slopes = (
        frontier.line(points.log_flops, values - bias, points.weights)[1]
        for values, bias in ((points.log_params, bias_n), (points.log_tokens, bias_d))
    )
    a, b = (estimate(slope[0], slope[1:], level, draws.method_of_readings) for slope in slopes)
    # Of the budget where it is largest: the mean of biases of either sign would hide them.
    largest = float(np.expm1(bias_n[np.argmax(np.abs(bias_n))]))
    estimates = {
        "bias_of_N_opt": estimate(largest, np.zeros(0), level, ""),
        "a_bias_corrected": a,
        "b_bias_corrected": b,
    }
    flags = ()
    if np.abs(bias_n).max() > _BIAS_WORTH_SAYING:
        low, high = (100 * (np.exp(bound) - 1) + 0.0 for bound in (bias_n.min(), bias_n.max()))
        flags = (
            f"known bias of approach 2: under the fitted parametric law its parabolas put N_opt off by {low:+.1f}% to {high:+.1f}% "
            "(a_bias_corrected allows for it)",
        )
    return Bias(bias_n, tuple(item[2] for item in of_budgets), estimates, flags)


def _bias_of(part: Slice, surface: Result, cost: optimal.Cost) -> tuple[float, float, bool]:
    """Bias of ln N and of ln D at one budget, and whether the closed form gave it."""
    best = optimal.optimum(surface.theta[None], part.log_flops, cost)
    u_S = part.log_params - best.log_params[0]
    on_budget = np.allclose(part.log_params + part.log_tokens + np.log(6.0), part.log_flops, rtol=0, atol=1e-6)
    if cost.six_n and on_budget and parabola.is_centred(u_S):
        found = parabola.bias_of_centred(surface.theta[3], surface.theta[4], u_S)
        return found, -found, True
    smooth = surface.log_loss(np.exp(part.log_params), np.exp(part.log_tokens))[None]
    in_n, in_d = vertices(part.log_params, smooth), vertices(part.log_tokens, smooth)
    return in_n.position[0] - best.log_params[0], in_d.position[0] - best.log_tokens[0], False
