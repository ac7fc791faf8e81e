"""Kaplan's laws: L(N), L(D), L(C) as pure powers, the same with an offset, and the joint L(N, D).

Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.1 to 1.5. Kaplan's N is non-embedding and each law holds in a regime: L(N)
for runs that data does not limit, L(D) for models that size does not limit, L(C) along the efficient frontier. A sweep
of single-epoch runs reaches these regimes only at its edges, so each law says which runs it took and how far from its
regime they are.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting.objectives import HUBER, Objective
from analysis.laws.forms import kaplan as forms
from analysis.laws.intervals import bootstrap
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

ND_NAME = forms.ND.name

_POINTS_FOR_POWER = 3
_POINTS_FOR_OFFSET = 5
_LIMITED = 0.02


@dataclasses.dataclass(frozen=True)
class Axis:
    """One of the three single-variable laws.

    Attributes:
      column: of the runs table.
      regime: what the chosen runs are.
    """

    column: str
    regime: str

    @property
    def letter(self) -> str:
        """N, D or C."""
        return forms.LETTERS[self.column]


COMPUTE = Axis("flops", "the runs that none as cheap beats")
AXES = (
    Axis("params", "the runs that no model as small beats"),
    Axis("tokens", "the runs that none on as few tokens beats"),
    COMPUTE,
)


def fit_all(
    table: RunsTable, draws: bootstrap.Draws, level: float, surface: Result | None, objective: Objective = HUBER
) -> list[Result | NotFitted]:
    """Every Kaplan law, with and without offset.

    Args:
      table: the runs.
      draws: bootstrap draws of its rows.
      level: coverage of the intervals.
      surface: a fitted L(N, D), to measure how far the chosen runs are from each law's regime.
      objective: what is minimised.
    """
    laws = [
        fit_axis(table, axis, draws, level, offset, surface, objective) for axis in AXES for offset in (False, True)
    ]
    return [*laws, fit_nd(table, draws, level, objective)]


def chosen_runs(table: RunsTable, axis: Axis) -> npt.NDArray[np.int64]:
    """Positions of the runs that a law of one variable is fitted to: those that no run with as little of it beats, ascending.

    On a full grid these are the longest run of every size, the largest model at every token budget, and the efficient
    frontier; on any other design they are the nearest to it that was trained.
    """
    x_K = table.log(axis.column)
    order = np.lexsort((table.log("loss"), x_K))
    # Seeds of one point and sizes that are all but equal count as one: the best of them stays.
    group, loss = grouped(x_K[order], 0.02), table.log("loss")[order]
    best = np.array([loss[group == g].min() for g in range(group.max() + 1)])
    cheaper = np.concatenate([[np.inf], np.minimum.accumulate(best)[:-1]])
    return np.sort(order[(loss == best[group]) & (best < cheaper)[group]])


def fit_axis(
    table: RunsTable,
    axis: Axis,
    draws: bootstrap.Draws,
    level: float,
    offset: bool,
    surface: Result | None = None,
    objective: Objective = HUBER,
) -> Result | NotFitted:
    """L(X) = (X_c/X)^alpha, or E + (X_c/X)^alpha with an offset (then no longer Kaplan's own form)."""
    form = forms.power(axis.column, offset)
    rows = chosen_runs(table, axis)
    x_KxV, y_K = fitting.variables(form, table)[rows], table.log("loss")[rows]
    points = len(np.unique(grouped(x_KxV[:, 0], 0.02)))
    needed = _POINTS_FOR_OFFSET if offset else _POINTS_FOR_POWER
    if points < needed:
        reason = f"{points} distinct {axis.letter} among {axis.regime}, and {needed} are needed"
        return NotFitted(form.name, form.equation, form.source, reason)
    # These few runs are chosen from the design; to resample them would drop points of a line of few points.
    fitted = fitting.fit_form(form, x_KxV, y_K, draws.rows(rows).noise_only() if len(draws) else draws, objective)
    flags = (
        f"fitted to {len(rows)} of {len(table)} runs: {axis.regime}",
        *(_counting_flags(table) if axis.letter == "N" else ()),
        *_regime_flags(table, axis, rows, surface),
    )
    run_ids = tuple(table.frame["run_id"].iloc[rows])
    return fitting.result_of(fitted, form, run_ids=run_ids, level=level, flags=flags, objective=objective)


def _counting_flags(table: RunsTable) -> tuple[str, ...]:
    """Kaplan's exponents of N are those of his count."""
    if table.conventions.parameters == "non_embedding":
        return ()
    return (
        f"N here is {table.conventions.parameters} parameters and Kaplan's is non-embedding (--parameters=non_embedding): do not compare "
        "this exponent with his",
    )


def _regime_flags(table: RunsTable, axis: Axis, rows: npt.NDArray[np.int64], surface: Result | None) -> tuple[str, ...]:
    """How much of the chosen runs' loss is due to the other variable, according to the fitted surface."""
    if axis.letter == "C":
        return ("the batch size was not corrected to the critical one, so this is L(C) and not L(C_min)",)
    if surface is None:
        return ()
    frame = table.frame.iloc[rows]
    value = surface.log_loss(frame["params"].to_numpy(), frame["tokens"].to_numpy())
    if axis.letter == "N":
        freed = surface.log_loss(frame["params"].to_numpy(), np.inf)
        other = "finite data"
    else:
        freed = surface.log_loss(np.inf, frame["tokens"].to_numpy())
        other = "finite size"
    share = 1 - np.exp(freed - value)
    if share.max() <= _LIMITED:
        return ()
    return (
        f"this design does not reach the law's regime: {other} still makes up {100 * share.min():.0f} to {100 * share.max():.0f}% of these "
        "losses (by the parametric law), so the exponent is biased",
    )


def fit_nd(table: RunsTable, draws: bootstrap.Draws, level: float, objective: Objective = HUBER) -> Result:
    """L(N, D) of eq. 1.5: four parameters and no irreducible loss."""
    return fitting.fit(forms.ND, table, draws, level, objective, _counting_flags(table))
