"""Kaplan's laws: L(N), L(D), L(C) as pure powers, the same with an offset, and the joint L(N, D).

Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.1 to 1.5. Kaplan's N is non-embedding and each law holds in a regime: L(N)
for runs that data does not limit, L(D) for models that size does not limit, L(C) along the efficient frontier. A sweep
of single-epoch runs reaches these regimes only at its edges, so each law says which runs it took and how far from its
regime they are.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import engine
from analysis.laws.fitting import fit as fitting
from analysis.laws.forms.power_sums import PowerSum, Term
from analysis.laws.intervals import bootstrap
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

ND_NAME = "kaplan_nd"
ND_FORM = PowerSum(
    (Term("a", fitting.LOG_PARAMS, "alpha_N/alpha_D"), Term("log D_c", fitting.LOG_TOKENS)), outer="alpha_D"
)
_ND_EQUATION = "L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D"

_POINTS_FOR_POWER = 3
_POINTS_FOR_OFFSET = 5
_LIMITED = 0.02


@dataclasses.dataclass(frozen=True)
class Axis:
    """One of the three single-variable laws.

    Attributes:
      letter: N, D or C.
      column: of x.
      citation: equation in the paper.
      regime: what the chosen runs are.
    """

    letter: str
    column: int
    citation: str
    regime: str

    @property
    def name(self) -> str:
        """The key in laws.json."""
        return f"kaplan_{self.letter.lower()}"


AXES = (
    Axis("N", fitting.LOG_PARAMS, "eq. 1.1", "the runs that no model as small beats"),
    Axis("D", fitting.LOG_TOKENS, "eq. 1.2", "the runs that none on as few tokens beats"),
    Axis("C", fitting.LOG_FLOPS, "eq. 1.3, at the batch size used, not C_min", "the runs that none as cheap beats"),
)


def fit_all(
    table: RunsTable, draws: bootstrap.Draws, level: float, surface: Result | None, delta: float = engine.HUBER_DELTA
) -> list[Result | NotFitted]:
    """Every Kaplan law, with and without offset.

    Args:
      table: the runs.
      draws: bootstrap draws of its rows.
      level: coverage of the intervals.
      surface: a fitted L(N, D), to measure how far the chosen runs are from each law's regime.
      delta: Huber threshold.
    """
    laws = [fit_axis(table, axis, draws, level, offset, surface, delta) for axis in AXES for offset in (False, True)]
    return [*laws, fit_nd(table, draws, level, delta)]


def chosen_runs(table: RunsTable, axis: Axis) -> npt.NDArray[np.int64]:
    """Positions of the runs that a law of one variable is fitted to: those that no run with as little of it beats, ascending.

    On a full grid these are the longest run of every size, the largest model at every token budget, and the efficient
    frontier; on any other design they are the nearest to it that was trained.
    """
    x_K = fitting.variables(table)[:, axis.column]
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
    delta: float = engine.HUBER_DELTA,
) -> Result | NotFitted:
    """L(X) = (X_c/X)^alpha, or E + (X_c/X)^alpha with an offset (then no longer Kaplan's own form)."""
    letter, name = axis.letter, axis.name + ("_offset" if offset else "")
    equation = f"L({letter}) = {'E + ' if offset else ''}({letter}_c/{letter})^alpha_{letter}"
    source = f"Kaplan et al. 2020 (arXiv:2001.08361), {axis.citation}" + (
        ", with an irreducible loss added" if offset else ""
    )
    rows = chosen_runs(table, axis)
    x_KxV, y_K = fitting.variables(table)[rows], table.log("loss")[rows]
    points = len(np.unique(grouped(x_KxV[:, axis.column], 0.02)))
    needed = _POINTS_FOR_OFFSET if offset else _POINTS_FOR_POWER
    if points < needed:
        return NotFitted(
            name, equation, source, f"{points} distinct {letter} among {axis.regime}, and {needed} are needed"
        )
    terms = [Term("a", axis.column, "alpha"), *([Term("log E")] if offset else [])]
    form = PowerSum(tuple(terms))
    # These few runs are chosen from the design; to resample them would drop points of a line of few points.
    fitted = fitting.fit_form(form, x_KxV, y_K, draws.rows(rows).noise_only() if len(draws) else draws, delta)
    exponent = len(terms)
    natural = {
        f"alpha_{letter}": lambda theta: theta[:, exponent],
        # Only ln X_c keeps in range when alpha is small.
        f"log_{letter}_c": lambda theta: theta[:, 0] / theta[:, exponent],
    }
    if offset:
        natural["E"] = lambda theta: np.exp(theta[:, 1])
    flags = (
        f"fitted to {len(rows)} of {len(table)} runs: {axis.regime}",
        *(_counting_flags(table) if letter == "N" else ()),
        *_regime_flags(table, axis, rows, surface),
    )
    return fitting.result_of(
        fitted, form, name=name, equation=equation, source=source, natural=natural, derived={},
        run_ids=tuple(table.frame["run_id"].iloc[rows]), level=level, flags=flags, delta=delta,
    )  # fmt: skip


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


def fit_nd(table: RunsTable, draws: bootstrap.Draws, level: float, delta: float = engine.HUBER_DELTA) -> Result:
    """L(N, D) of eq. 1.5: four parameters and no irreducible loss."""
    fitted = fitting.fit_form(ND_FORM, fitting.variables(table), table.log("loss"), draws, delta)
    natural = {
        "alpha_N": lambda theta: theta[:, 2] * theta[:, 3],
        "alpha_D": lambda theta: theta[:, 3],
        "log_N_c": lambda theta: theta[:, 0] / theta[:, 2],
        "log_D_c": lambda theta: theta[:, 1],
    }
    return fitting.result_of(
        fitted, ND_FORM, name=ND_NAME, equation=_ND_EQUATION, source="Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.5",
        natural=natural, derived={}, run_ids=tuple(table.frame["run_id"]), level=level, flags=_counting_flags(table), delta=delta,
    )  # fmt: skip
