"""Exponents up a ladder of corrections: what each switch, thrown after those before it, does to N_opt ∝ C^a.

Kaplan et al. 2020 (a = 0.88 at their fixed batch, 0.73 adjusted to the critical one) and Hoffmann et al. 2022 (a = 0.5) differ by how
parameters and compute are counted, by a warm-up longer than the best small runs, by the decay and by untuned hyper-parameters. Porian et al. 2024
(arXiv:2406.19146), section 3, retrain one grid under each and find the way from one exponent to the other.

A table for it has the columns of a runs table (params, tokens, flops, loss) and one column for every factor, such as `param_count`,
`warmup`, `decay` and `hparams`; a rung is the rows with one value in each.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Estimate, NotFitted, Result, estimate
from analysis.laws.tables import sources
from analysis.laws.tables.table import RunsTable, build

Draw = Callable[[RunsTable], bootstrap.Draws]
Fit = Callable[[RunsTable, bootstrap.Draws, float], Result | NotFitted]


@dataclasses.dataclass(frozen=True)
class Switch:
    """One correction: its name, and the factors that it sets."""

    name: str
    sets: Mapping[str, str]


# The table of Porian et al.: its losses are of training where compute leaves out the head, and held-out where it counts it.
KAPLAN_AS_REPRODUCED = {
    "param_count": "kaplan",
    "val": "train",
    "warmup": "long",
    "decay": "kaplan",
    "hparams": "base",
}
PORIAN_SWITCHES = (
    Switch("last-layer FLOPs", {"param_count": "standard", "val": "val"}),
    Switch("warm-up by size", {"warmup": "short"}),
    Switch("decay over the run", {"decay": "chinchilla"}),
    Switch("tuned hyper-parameters, no decay", {"hparams": "tuned", "decay": "const"}),
)


@dataclasses.dataclass(frozen=True)
class Rung:
    """The exponents at one rung.

    Attributes:
      name: of the switch that led here; of the start, `start`.
      factors: every factor's value here.
      runs: rows of the table that are so.
      law: what was fitted to them, or why nothing could be.
      a, b: exponents of N_opt and D_opt; None where nothing was fitted.
      moved: a minus that of the last rung below with an exponent; None at the first.
    """

    name: str
    factors: Mapping[str, str]
    runs: int
    law: Result | NotFitted
    a: Estimate | None
    b: Estimate | None
    moved: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; the law itself under its own name."""
        numbers = {name: getattr(self, name) for name in ("a", "b", "moved")}
        return {
            "name": self.name, "factors": dict(self.factors), "runs": self.runs, "law": self.law.to_json(),
            **{name: None if item is None else item.to_json() for name, item in numbers.items()},
        }  # fmt: skip


def climb(
    frame: pd.DataFrame,
    start: Mapping[str, str],
    switches: Sequence[Switch],
    fit: Fit,
    draw: Draw = lambda table: bootstrap.NO_DRAWS,
    level: float = 0.9,
    source: str = "the table",
) -> list[Rung]:
    """Fits the start and every rung above it.

    Args:
      frame: a table with `params, tokens, flops, loss` and a column for every factor.
      start: every factor's value at the foot.
      switches: thrown in this order, each on top of those before it.
      fit: of (table, draws, level), a law with the parameters a and b: approaches 1 and 2, say.
      draw: bootstrap draws of a rung's table; equal numbers of them at every rung give `moved` its interval, as of independent
        rungs (which overstates it where two rungs count the same runs differently).
      level: coverage of the intervals.
      source: what the table is called in errors.

    Raises:
      TableError: a factor's column or a rung's rows are missing, or the rows cannot be a table of runs.
    """
    rungs: list[Rung] = []
    factors = dict(start)
    for name, sets in [("start", {}), *((switch.name, switch.sets) for switch in switches)]:
        factors |= sets
        table = build(sources.from_frame(rows_with(frame, factors, source), source), source=source)
        law = fit(table, draw(table), level)
        below = next((rung.law for rung in reversed(rungs) if isinstance(rung.law, Result)), None)
        a, b, moved = _exponents(law, below)
        rungs.append(Rung(name, dict(factors), len(table), law, a, b, moved))
    return rungs


def rows_with(frame: pd.DataFrame, factors: Mapping[str, str], source: str = "the table") -> pd.DataFrame:
    """The rows whose factors have these values.

    Raises:
      TableError: a factor has no column, or no row has all of them.
    """
    missing = [name for name in factors if name not in frame.columns]
    if missing:
        raise TableError(
            f"{source} has no column {', '.join(missing)}", "add the factor, or leave it out of the ladder"
        )
    kept = np.ones(len(frame), bool)
    for name, value in factors.items():
        values = frame[name].astype(str)
        if not (values == value).any():
            known = ", ".join(sorted(set(values)))
            raise TableError(f"{source}: no row has {name} = {value}", f"choose one of {known}")
        kept &= (values == value).to_numpy()
    if not kept.any():
        wanted = ", ".join(f"{name} = {value}" for name, value in factors.items())
        raise TableError(f"{source}: no row has {wanted} together", "take the switches in an order that was trained")
    return frame[kept].reset_index(drop=True)


def _exponents(
    law: Result | NotFitted, below: Result | None
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    if not isinstance(law, Result):
        return None, None, None
    a, b = law.parameters["a"], law.parameters["b"]
    return a, b, None if below is None else movement(law, below)


def movement(law: Result, reference: Result) -> Estimate:
    """a of one law minus a of another, with an interval where both have as many replicates.

    Laws of approaches 1 and 2, whose second parameter is a. Replicates are paired as they come: equal draws of equal runs give the
    interval of the difference, independent ones that of independent laws.
    """
    value = law.parameters["a"].value - reference.parameters["a"].value
    if len(law.replicates) != len(reference.replicates):
        return Estimate(value, None, law.level, "unequal numbers of replicates")
    return estimate(value, law.replicates[:, 1] - reference.replicates[:, 1], law.level, law.parameters["a"].method)
