"""Approach 1 by the convex hull: power laws through the runs on the lower edge of all losses over compute.

In ln C and ln L the runs on the falling lower side of the convex hull are the compute-efficient ones; a far vertex up and to the
right closes the hull above. McLeish et al. 2025 (Gemstones, arXiv:2502.06857), section 4. It needs no interpolation and no budgets in
common, and takes few runs: a dozen of two hundred decide, those with the luckiest noise. On simulated sweeps a comes out 0.05 to 0.10
too low and 90% intervals cover at most 6% (a test holds it against the default, :mod:`analysis.laws.optima.envelope`).
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from analysis.laws.intervals import bootstrap
from analysis.laws.optima import frontier
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

NAME = "chinchilla_envelope_hull"
EQUATION = "N_opt = k_N·C^a, D_opt = k_D·C^b through the runs on the lower convex hull of ln L over ln C; L_opt = E + A/C^gamma"
SOURCE = "McLeish et al. 2025 (arXiv:2502.06857), approach 1"

_FEWEST = 3
_FAR = np.log(2.0)


def lower_hull(log_flops_K: FloatArray, log_loss_K: FloatArray) -> npt.NDArray[np.int64]:
    """Rows on the falling lower side of the convex hull, by ascending compute, int64[H].

    Args:
      log_flops_K: ln C of the runs, at least two of them different.
      log_loss_K: ln L.
    """
    points = np.stack([log_flops_K, log_loss_K], axis=1)
    closed = np.concatenate([points, [points.max(axis=0) + _FAR]])
    vertices = ConvexHull(closed).vertices
    vertices = vertices[vertices < len(points)]
    vertices = vertices[np.lexsort((log_loss_K[vertices], log_flops_K[vertices]))]
    loss = log_loss_K[vertices]
    falls = np.concatenate([[True], loss[1:] < np.minimum.accumulate(loss)[:-1]])
    return vertices[falls]


def fit(table: RunsTable, draws: bootstrap.Draws = bootstrap.NO_DRAWS, level: float = 0.9) -> Result | NotFitted:
    """Fits approach 1 to the runs on the hull.

    Args:
      table: the runs.
      draws: of its rows; where they resample runs a replicate has the hull of the runs that it drew, else noise is added to the
        losses.
      level: coverage of the intervals.
    """
    x_K, y_K = table.log("flops"), table.log("loss")
    on_hull = np.zeros((1 + len(draws), len(table)), bool)
    losses = frontier.resampled(np.eye(len(table)), y_K, draws if draws.weights_RxK is None else bootstrap.NO_DRAWS)
    drawn = np.ones(len(table), bool)
    for row in range(len(on_hull)):
        if row and draws.weights_RxK is not None:
            drawn = draws.weights_RxK[row - 1] > 0
        rows = np.flatnonzero(drawn)
        on_hull[row, rows[lower_hull(x_K[rows], losses[row % len(losses), rows])]] = True
    count = int(on_hull[0].sum())
    if count < _FEWEST:
        return NotFitted(NAME, EQUATION, SOURCE, f"{count} runs lie on the hull, and {_FEWEST} are needed")
    flags = [
        f"{count} of {len(table)} runs lie on the hull and decide, the luckiest ones: a comes out too low and its interval does not know it; "
        "chinchilla_envelope is without that bias"
    ]
    edge = int(np.isin(table.codes("params")[on_hull[0]], (0, table.codes("params").max())).sum())
    if edge:
        flags.append(
            f"{edge} of them are of the smallest or the largest size: there the design decides which size is the best"
        )
    columns = (np.where(on_hull, values, np.nan) for values in (table.log("params"), table.log("tokens"), losses))
    points = frontier.Points(x_K, *columns, np.ones(len(table)))
    return frontier.result_of(
        points, name=NAME, equation=EQUATION, source=SOURCE, level=level,
        method=draws.method if draws.weights_RxK is not None else draws.method_of_readings, flags=tuple(flags),
        run_ids=tuple(table.frame["run_id"][on_hull[0]]), extra={}, details={"points": points},
    )  # fmt: skip
