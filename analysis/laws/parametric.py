"""Chinchilla, approach 3: the parametric law L(N, D) = E + A/N^alpha + B/D^beta, fitted and judged.

Hoffmann et al. 2022 (arXiv:2203.15556), section 3.3, eq. 2 and 3; estimation as corrected by Besiroglu et al. 2024
(arXiv:2404.10102). N and D as counted by the table's conventions; C = 6·N·D with that N.
"""

import dataclasses

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting.objectives import HUBER, Objective
from analysis.laws.forms.chinchilla import FORM, log_g
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Result
from analysis.laws.tables.table import RunsTable

__all__ = ["FORM", "NAME", "fit", "log_g"]

NAME = FORM.name
# E below 1% of the smallest loss is as good as none.
_NO_FLOOR = 0.01
_BENT = 1.5


def fit(
    table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9, objective: Objective = HUBER
) -> Result:
    """Fits the law to a runs table.

    Args:
      table: the runs; N, D and L are used, C is not.
      draws: bootstrap draws of the table's rows; empty for no intervals.
      level: coverage of the intervals.
      objective: what is minimised; Hoffmann et al.'s by default, as a sum.
    """
    law = fitting.fit(FORM, table, draws, level, objective)
    value = {name: item.value for name, item in law.parameters.items()}
    flags = []
    if value["E"] < _NO_FLOOR * float(table.frame["loss"].min()):
        flags.append("the irreducible loss E is at zero: the runs are too far from it to see it")
    if max(value["alpha"], value["beta"]) > _BENT:
        flags.append("an exponent above 1.5: the law bends inside this range, so extrapolate with care")
    return dataclasses.replace(law, flags=(*flags, *law.flags))
