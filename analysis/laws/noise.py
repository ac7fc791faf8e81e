"""How far a run's loss strays from the law: from replicates, and from residuals split between trunks and branches."""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.result import finite
from analysis.laws.table import SIZE_TOLERANCE, RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

_SAME_TOKENS = 1e-3


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
    """

    replicate: float | None
    replicate_dof: int
    between: float
    within: float
    dof: int
    explanation: str

    @property
    def total(self) -> float:
        """Of one new run on a new trunk."""
        return float(np.hypot(self.between, self.within))

    def to_json(self) -> dict[str, float | int | str | None]:
        """Every field, and `total`, as JSON values."""
        values = dataclasses.asdict(self) | {"total": self.total}
        return {name: finite(value) if isinstance(value, float) else value for name, value in values.items()}


def replicate_noise(table: RunsTable) -> tuple[float | None, int]:
    """The pooled standard deviation of ln L between runs of equal size and tokens, and its degrees of freedom."""
    sizes_K = table.codes("params")
    tokens_K = grouped(table.log("tokens"), _SAME_TOKENS)
    y_K = table.log("loss")
    squares, dof = 0.0, 0
    for cell in set(zip(sizes_K.tolist(), tokens_K.tolist(), strict=True)):
        values = y_K[(sizes_K == cell[0]) & (tokens_K == cell[1])]
        squares += float(np.sum((values - values.mean()) ** 2))
        dof += len(values) - 1
    return (float(np.sqrt(squares / dof)) if dof else None), dof


def estimate(table: RunsTable, residual_K: FloatArray, num_parameters: int) -> Noise:
    """Splits the residuals of a fitted law by one-way analysis of variance over clusters, and holds them against replicates.

    The fit spends about three of its degrees of freedom between sizes, and the rest within, so both mean squares are
    divided by what is left; a floor keeps the estimate at the level of the replicates.

    Args:
      table: the runs.
      residual_K: ln L minus the law's ln L.
      num_parameters: of the law.
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
    within_variance = max(0.0, total_variance - between_variance)
    return Noise(
        replicate, replicate_dof, float(np.sqrt(between_variance)), float(np.sqrt(within_variance)), dof, words
    )


def sizes_apart(log_params_K: FloatArray) -> int:
    """Number of distinct model sizes."""
    return len(np.unique(grouped(log_params_K, SIZE_TOLERANCE)))
