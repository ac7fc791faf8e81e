"""How far a run's loss strays from the law: from replicates, and from residuals split between trunks and branches.

Residuals of a law that is wrong hold its fault beside the noise, so they cannot tell by themselves whether it fits. Where
runs were repeated with other seeds they can: the lack-of-fit test holds the mean square of the residuals about the
repeated runs' means against the pure error within them (Draper and Smith 1998, section 2.1).
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.laws.intervals.components import Components, components
from analysis.laws.result import finite
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

_SAME_TOKENS = 1e-3
# Runs that differ in any of these are not repetitions of one run.
_RECIPE = ("family", "schedule", "learning_rate", "batch_tokens")
_PURE_ERROR_FROM = 2
_SIGNIFICANT = 0.01


@dataclasses.dataclass(frozen=True)
class LackOfFit:
    """The F test of a law against its replicates.

    Attributes:
      f: mean square of the residuals without pure error, over that of pure error.
      dof: degrees of freedom of the first; fewer than runs where trunks share their noise.
      error_dof: degrees of freedom of pure error.
      p: chance of an F as large when the law is right.
    """

    f: float
    dof: float
    error_dof: int
    p: float

    @property
    def in_words(self) -> str:
        """The test as papers print it."""
        return f"F({self.dof:.3g}, {self.error_dof}) = {self.f:.3g}, p = {self.p:.2g}"


@dataclasses.dataclass(frozen=True)
class Noise:
    """Standard deviations of ln L.

    Attributes:
      replicate: between runs that differ in their seed alone; None without replicates.
      replicate_dof: degrees of freedom of `replicate`.
      between: shared by all runs of one cluster (trunk).
      within: of one run (branch) alone.
      dof: degrees of freedom that the scale of the draws is worth.
      explanation: one sentence.
      lack_of_fit: the law's test against the replicates; None where they are too few.
      components: what the residuals say of `between` and `within`, for draws; None where the law's Jacobian was not given.
    """

    replicate: float | None
    replicate_dof: int
    between: float
    within: float
    dof: int
    explanation: str
    lack_of_fit: LackOfFit | None = None
    components: Components | None = None

    @property
    def total(self) -> float:
        """Of one new run on a new trunk."""
        return float(np.hypot(self.between, self.within))

    @property
    def flags(self) -> tuple[str, ...]:
        """What the replicates say against the law, in words."""
        if self.lack_of_fit is None or self.lack_of_fit.p >= _SIGNIFICANT:
            return ()
        return (
            f"the form does not fit: its residuals are larger than runs that differ in their seed alone explain "
            f"({self.lack_of_fit.in_words})",
        )

    def to_json(self) -> dict[str, Any]:
        """Every number, and `total`, as JSON values."""
        values = dataclasses.asdict(self) | {"total": self.total}
        del values["components"]
        if self.lack_of_fit is not None:
            values["lack_of_fit"] = {
                name: finite(value) for name, value in dataclasses.asdict(self.lack_of_fit).items()
            }
        return {name: finite(value) if isinstance(value, float) else value for name, value in values.items()}


def replicates(table: RunsTable) -> list[npt.NDArray[np.int64]]:
    """Rows of the runs that repeat each other: equal in size, tokens and recipe, each with a randomness of its own."""
    labels = {"size": table.codes("params"), "tokens": grouped(table.log("tokens"), _SAME_TOKENS)}
    # A column that says nothing of a run tells it apart from nobody.
    labels |= {name: table.frame[name].astype(str) for name in _RECIPE if name in table.frame.columns}
    seed = table.frame["seed"]
    # Equal seeds are one run computed twice; where seeds are unknown, branches of one trunk still share theirs.
    source = seed.astype(str).where(seed.notna(), "cluster " + table.frame["cluster"].astype(str))
    cells = pd.DataFrame(labels).reset_index(drop=True).assign(source=source.to_numpy())
    alone = cells.drop_duplicates()
    return [np.asarray(rows) for rows in alone.groupby(list(labels), dropna=False).groups.values() if len(rows) > 1]


def replicate_noise(table: RunsTable) -> tuple[float | None, int]:
    """The pooled standard deviation of ln L within :func:`replicates`, and its degrees of freedom."""
    y_K, found = table.log("loss"), replicates(table)
    dof = sum(len(rows) - 1 for rows in found)
    squares = sum(float(np.sum((y_K[rows] - y_K[rows].mean()) ** 2)) for rows in found)
    return (float(np.sqrt(squares / dof)) if dof else None), dof


def mixtures(table: RunsTable) -> tuple[str, ...]:
    """Flags of a table whose runs were not trained by one recipe."""
    if "schedule" not in table.frame.columns:
        return ()
    names = sorted(set(table.frame["schedule"].dropna().astype(str)) - {""})
    if len(names) < 2:
        return ()
    return (f"the table mixes the schedules {', '.join(names)}; one law is fitted through all of them",)


def lack_of_fit(table: RunsTable, residual_K: FloatArray, num_parameters: int, worth: float = 1.0) -> LackOfFit | None:
    """The F test of a fitted law; None with fewer than two degrees of freedom of pure error.

    Args:
      table: the runs.
      residual_K: ln L minus the law's ln L.
      num_parameters: of the law.
      worth: independent residuals over residuals, at most 1.
    """
    error, error_dof = replicate_noise(table)
    dof = len(residual_K) - num_parameters - error_dof
    if error is None or not error or error_dof < _PURE_ERROR_FROM or dof < 1:
        return None
    squares = float(np.sum(residual_K**2)) - error_dof * error**2
    f, dof_worth = max(0.0, squares) / dof / error**2, max(1.0, dof * worth)
    return LackOfFit(f, dof_worth, error_dof, float(stats.f.sf(f, dof_worth, error_dof)))


def estimate(
    table: RunsTable, residual_K: FloatArray, num_parameters: int, jacobian_PxK: FloatArray | None = None
) -> Noise:
    """Splits the residuals of a fitted law by one-way analysis of variance over clusters, and holds them against replicates.

    The fit spends about three of its degrees of freedom between sizes, and the rest within, so both mean squares are
    divided by what is left; a floor keeps the estimate at the level of the replicates. The law's lack of fit is tested on
    the way.

    Args:
      table: the runs.
      residual_K: ln L minus the law's ln L.
      num_parameters: of the law.
      jacobian_PxK: derivatives of the law's ln L, for draws that know how well the residuals tell the two variances; None for draws
        that share one scale.
    """
    cluster_K = table.codes("cluster")
    count, clusters = len(residual_K), int(cluster_K.max()) + 1
    dof = max(1, count - num_parameters)
    total_variance = float(np.sum(residual_K**2)) / dof
    between_variance = 0.0
    sizes = np.bincount(cluster_K)
    if clusters < count:
        means = np.bincount(cluster_K, residual_K) / sizes
        typical = (count - np.sum(sizes**2) / count) / max(1, clusters - 1)
        mean_square_between = float(np.sum(sizes * means**2)) / max(1, clusters - 3)
        within_dof = max(1, count - clusters - (num_parameters - 3))
        mean_square_within = float(np.sum((residual_K - means[cluster_K]) ** 2)) / within_dof
        between_variance = max(0.0, (mean_square_between - mean_square_within) / typical)
        total_variance = between_variance + mean_square_within
        share = between_variance / total_variance if total_variance > 0 else 0.0
        # Where the trunk's part dominates, the clusters are what is counted.
        dof = max(2, round(dof * (1 - share) + max(1, clusters - 3) * share))
    fit = lack_of_fit(table, residual_K, num_parameters, min(1.0, dof / max(1, count - num_parameters)))
    replicate, replicate_dof = replicate_noise(table)
    words = f"residuals {100 * np.sqrt(total_variance):.2g}% of the loss"
    if replicate is not None:
        words += f", replicates {100 * replicate:.2g}% ({replicate_dof} degrees of freedom)"
        pooled = (dof * total_variance + replicate_dof * replicate**2) / (dof + replicate_dof)
        if pooled > total_variance:
            between_variance *= pooled / total_variance if total_variance > 0 else 0.0
            total_variance = pooled
            dof += replicate_dof
            words += "; the replicates raise the estimate"
    words += f"; lack of fit {fit.in_words}" if fit else (
        f"; lack of fit cannot be tested with {replicate_dof} degrees of freedom of replicates"
    )  # fmt: skip
    within_variance = max(0.0, total_variance - between_variance)
    told = jacobian_PxK is not None and count > num_parameters
    return Noise(
        replicate, replicate_dof, float(np.sqrt(between_variance)), float(np.sqrt(within_variance)), dof, words, fit,
        components(residual_K, cluster_K, jacobian_PxK) if told else None,
    )  # fmt: skip
