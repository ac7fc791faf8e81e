"""The Chinchilla approaches and their variants side by side: their exponents, and their N_opt and D_opt at the same budgets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.laws import parametric
from analysis.laws.optima import akima, envelope, frontier, hull, isoflop, lowest_size, optimal
from analysis.laws.result import Estimate, NotFitted, Result, estimate
from analysis.laws.tables.table import RunsTable

TITLES = {
    envelope.NAME: "1, envelope",
    lowest_size.NAME: "1, lowest size as published",
    hull.NAME: "1, convex hull",
    isoflop.NAME: "2, IsoFLOP parabolas",
    akima.NAME: "2, Akima interpolants",
    parametric.NAME: "3, parametric law",
}


# The three whose optima stand side by side; the others are variants, whose exponents are listed.
MAIN = (envelope.NAME, isoflop.NAME, parametric.NAME)


@dataclasses.dataclass(frozen=True)
class Approach:
    """What one approach says of the compute-optimal model.

    Attributes:
      name: of its law.
      exponents: of N_opt and D_opt, and the compute that they were read from.
      params: N_opt of every budget.
      tokens: D_opt of every budget.
    """

    name: str
    exponents: optimal.Exponents
    params: tuple[Estimate, ...]
    tokens: tuple[Estimate, ...]

    @property
    def title(self) -> str:
        """Its number in the paper and what it does."""
        return TITLES[self.name]

    @property
    def is_main(self) -> bool:
        """Whether it is one of the three, and no variant."""
        return self.name in MAIN

    def to_json(self, budgets: tuple[float, ...]) -> dict[str, Any]:
        """The entry of laws.json; `budgets` are the FLOPs of `params` and `tokens`."""
        optima = [
            {"flops": flops, "params": params.to_json(), "tokens": tokens.to_json()}
            for flops, params, tokens in zip(budgets, self.params, self.tokens, strict=True)
        ]
        return {"law": self.name, "exponents": self.exponents.to_json(), "optima": optima}


def compare(
    laws: Mapping[str, Result | NotFitted], table: RunsTable, allocated: list[optimal.ComputeOptimal]
) -> list[Approach]:
    """The approaches that could be fitted, in the order of the paper.

    Args:
      laws: by name; approaches that are missing or were not fitted are left out.
      table: the runs.
      allocated: the parametric law's optima, whose budgets the other approaches are read at.
    """
    found = []
    for name in TITLES:
        law = laws.get(name)
        if not isinstance(law, Result):
            continue
        if name == parametric.NAME:
            found.append(
                Approach(
                    name,
                    optimal.exponents(law, table),
                    tuple(item.params for item in allocated),
                    tuple(item.tokens for item in allocated),
                )
            )
        else:
            found.append(_of_frontier(law, [item.flops for item in allocated]))
    return found


def _of_frontier(law: Result, budgets: list[float]) -> Approach:
    """An approach that ends in power laws of compute through points."""
    points: frontier.Points = law.details["points"]
    seen = np.exp(points.log_flops[np.isfinite(points.log_params[0])])
    a, b = law.parameters["a"], law.parameters["b"]
    params, tokens = (
        tuple(estimate(float(column[0]), column[1:], law.level, a.method) for column in np.exp(lines_RxQ).T)
        for lines_RxQ in frontier.optimum_at(law, np.log(np.array(budgets)))
    )
    return Approach(law.name, optimal.Exponents(a, b, float(seen.min()), float(seen.max())), params, tokens)
