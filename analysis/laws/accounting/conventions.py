"""The same runs under every convention of parameters and FLOPs that they know, side by side, and how far each moves the exponent.

Switching embeddings, head and attention in and out of N and C changes d ln N_opt/d ln C by a third of its value on small models
(Porian et al. 2024, arXiv:2406.19146, section 3.2; Pearce and Song 2024, arXiv:2406.12907). Nothing is trained anew, so the same
bootstrap draws serve every convention, and the interval of a movement is that of paired replicates.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.laws import parametric
from analysis.laws.errors import TableError
from analysis.laws.fitting.objectives import HUBER, Objective
from analysis.laws.intervals import bootstrap
from analysis.laws.optima import optimal
from analysis.laws.result import Estimate, Result, estimate, finite
from analysis.laws.tables.table import PAIRED_FLOPS, PARAMETER_CONVENTIONS, Conventions, RunsTable

# Kaplan's counting, and what is added to it rung by rung.
LADDER = (
    ("non_embedding", "kaplan_6nd_non_embedding"),
    ("non_embedding", "6nd_head"),
    ("non_embedding", "6nd_head_attention"),
    ("total", "6nd_head_attention"),
    ("total", "chinchilla_appendix_f"),
    ("total", "6nd"),
)


@dataclasses.dataclass(frozen=True)
class UnderConvention:
    """The parametric law and its optimum when parameters and FLOPs are counted so.

    Attributes:
      parameters, flops: the conventions.
      law: L(N, D) in these parameters; FLOPs do not enter it.
      exponents: of N_opt and D_opt over the compute of the runs so counted.
      moved: their a minus that of the reference; None for the reference itself.
      held_out_error_percent: of the first held-out run; None without one.
    """

    parameters: str
    flops: str
    law: Result
    exponents: optimal.Exponents
    moved: Estimate | None
    held_out_error_percent: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        law = {name: self.law.parameters[name].to_json() for name in ("alpha", "beta", "E")}
        return {
            "parameters": self.parameters, "flops": self.flops, **law, "exponents": self.exponents.to_json(),
            "moved": None if self.moved is None else self.moved.to_json(), "objective": finite(self.law.objective),
            "held_out_error_percent": finite(self.held_out_error_percent),
        }  # fmt: skip


def known(table: RunsTable) -> list[tuple[str, str]]:
    """Pairs of conventions that a table knows: the ladder's first, in its order, then the others."""
    flops = table.flop_conventions()
    counted = [name for name in PARAMETER_CONVENTIONS if f"params_{name}" in table.raw.columns]
    pairs = [
        (parameters, name) for parameters in counted for name in (PAIRED_FLOPS[parameters], *flops) if name in flops
    ]
    return list(dict.fromkeys([*(pair for pair in LADDER if pair in pairs), *pairs]))


def side_by_side(
    table: RunsTable,
    draws: bootstrap.Draws = bootstrap.NO_DRAWS,
    level: float = 0.9,
    objective: Objective = HUBER,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> list[UnderConvention]:
    """Fits the parametric law under each pair of conventions.

    Args:
      table: the runs, under the convention that draws and movements refer to.
      draws: of its rows; the law is refitted once for every parameter convention.
      level: coverage of the intervals.
      objective: what is minimised.
      pairs: (parameters, FLOPs) in the order wanted; None for all that :func:`known` finds. The first is the reference.

    Returns:
      One entry a pair, without those that the table cannot support (sizes that differ in one count may be too few in another).
    """
    laws: dict[str, Result] = {}
    found: list[UnderConvention] = []
    reference: tuple[Result, np.ndarray] | None = None
    for parameters, flops in known(table) if pairs is None else pairs:
        try:
            other = table.under(Conventions(parameters, flops, table.conventions.domain))
        except TableError:
            # What this count cannot support must not cost those that it can; the caller sees the pair missing.
            continue
        if parameters not in laws:
            laws[parameters] = parametric.fit(other, _of_rows(draws, table, other), level, objective)
        law = laws[parameters]
        slope = _slopes(law, other)
        moved = None if reference is None else _difference((law, slope), reference, len(draws))
        reference = reference or (law, slope)
        found.append(
            UnderConvention(parameters, flops, law, optimal.exponents(law, other), moved, _held_out_error(law, other))
        )
    return found


def _of_rows(draws: bootstrap.Draws, table: RunsTable, other: RunsTable) -> bootstrap.Draws:
    """The draws of the runs that another convention keeps; none where it keeps a run that has no draw."""
    if not len(draws):
        return draws
    row_of = {run_id: row for row, run_id in enumerate(table.frame["run_id"])}
    rows = [row_of.get(run_id) for run_id in other.frame["run_id"]]
    return bootstrap.NO_DRAWS if None in rows else draws.rows(np.array(rows))


def _slopes(law: Result, table: RunsTable) -> np.ndarray:
    """a of the law and of every replicate over the table's compute, float64[1 + R]."""
    log_flops, cost = table.log("flops"), optimal.cost_of(table)
    theta = np.concatenate([law.theta[None], law.replicates])
    low, high = (optimal.optimum(theta, float(bound), cost).log_params for bound in (log_flops.min(), log_flops.max()))
    return (high - low) / np.ptp(log_flops)


def _difference(other: tuple[Result, np.ndarray], reference: tuple[Result, np.ndarray], drawn: int) -> Estimate:
    """How far a moved, replicate by replicate."""
    (law, slope), (reference_law, reference_slope) = other, reference
    value = float(slope[0] - reference_slope[0])
    complete = all(len(item.replicates) == drawn for item in (law, reference_law))
    if law is not reference_law and not complete:
        # Which replicates were rejected is not known, so those that are left cannot be paired.
        return Estimate(value, None, law.level, "replicates were rejected, so they do not pair")
    return estimate(value, slope[1:] - reference_slope[1:], law.level, law.parameters["alpha"].method)


def _held_out_error(law: Result, table: RunsTable) -> float | None:
    if not len(table.held_out):
        return None
    first = table.held_out.iloc[0]
    return float(100 * (first["loss"] / law.predict(first["params"], first["tokens"]).value[0] - 1))
