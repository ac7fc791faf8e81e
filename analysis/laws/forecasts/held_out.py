"""Held-out extrapolation on published tables: the cheapest 70% of the runs predict the others.

    python -m analysis.laws.forecasts.held_out --tables=DIR [--only=TEXT] [--level=0.9] [--share=0.7] [--replicates=200]

Runs are ranked by FLOPs. Beside the forecasts of :mod:`analysis.laws.forecasts.outlook` stand the intervals of a naive bootstrap: the
percentiles of Chinchilla's law refitted to resampled runs, which know of parameters only.
"""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws import parametric
from analysis.laws.errors import TableError
from analysis.laws.fitting import fit as fitting
from analysis.laws.forecasts import candidates, outlook, published, rollouts
from analysis.laws.intervals import bootstrap, noise
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

SHARE = 0.7


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """One table's extrapolation.

    Attributes:
      name: of the table.
      fitted: runs of the fit.
      reach: largest compute predicted over the largest fitted.
      score: of the forecasts.
      naive: of the bootstrap's intervals; None where none was asked for.
      inside_Q, width_Q: of every prediction, the width relative to the centre.
      outlook: that made them.
    """

    name: str
    fitted: int
    reach: float
    score: rollouts.Score
    naive: rollouts.Score | None
    inside_Q: npt.NDArray[np.bool_]
    width_Q: FloatArray
    outlook: outlook.Outlook

    def in_words(self) -> str:
        """One line of the table."""
        scores = f"{_short(self.score)}  {_short(self.naive)}"
        return f"{self.name:66.66s} {self.fitted:4d} {self.score.predictions:4d} {self.reach:7.1f}  {scores}"


def _short(score: rollouts.Score | None) -> str:
    if score is None:
        return f"{'–':>5s} {'–':>7s} {'–':>7s} {'–':>7s}"
    return f"{100 * score.coverage:4.0f}% {score.width_percent:6.2f}% {score.error_percent:6.2f}% {score.interval_score:6.1f}%"


_COLUMNS = "cover   width   error   score"
HEADER = f"{'':84s}{'outlook':^29s}  {'naive bootstrap':^29s}\n{'table':66s}  fit pred   reach  {_COLUMNS}  {_COLUMNS}"


def held_out(
    table: RunsTable, name: str, level: float = 0.9, share: float = SHARE, replicates: int = 0, seed: int = 0
) -> HeldOut:
    """Fits the cheapest share of a table's runs and predicts the others.

    Args:
      table: all runs; what the table says of held-out ones is not used.
      name: for readers.
      level: nominal coverage.
      share: of the runs that are fitted.
      replicates: of the naive bootstrap; 0 leaves it out.
      seed: of the bootstrap.
    """
    runs, y_K = outlook.runs_of(table), table.log("loss")
    order = np.argsort(runs.logs["flops"], kind="stable")
    early, late = np.split(order, [round(share * len(order))])
    made = outlook.from_runs(candidates.forms_of(table), _rows(runs, early), y_K[early], level)
    ahead = made.forecast(_rows(runs, late))
    reach = float(np.exp(ahead.distance_Q.max()))
    ends = (ahead.median_Q, ahead.low_Q, ahead.high_Q)
    score = rollouts.summary(name, (1.0, reach), y_K[late], *ends, level)
    fitted = dataclasses.replace(table, frame=table.frame.iloc[early].reset_index(drop=True))
    naive = _naive(fitted, table.frame.iloc[late], level, replicates, seed) if replicates else None
    inside_Q = (ahead.low_Q <= y_K[late]) & (y_K[late] <= ahead.high_Q)
    width_Q = np.exp(ahead.high_Q - ahead.median_Q) - np.exp(ahead.low_Q - ahead.median_Q)
    return HeldOut(name, len(early), reach, score, naive, inside_Q, width_Q, made)


def _rows(runs: outlook.Runs, index: npt.NDArray) -> outlook.Runs:
    return outlook.Runs({name: values[index] for name, values in runs.logs.items()}, runs.cluster_K[index])


def _naive(fitted: RunsTable, late: pd.DataFrame, level: float, replicates: int, seed: int) -> rollouts.Score:
    plain = parametric.fit(fitted, level=level)
    jacobian_PxK = fitting.jacobian(parametric.FORM, plain.theta, fitted)
    run_noise = noise.estimate(fitted, plain.details["residual"], len(plain.theta), jacobian_PxK)
    law = parametric.fit(fitted, bootstrap.draw(fitted, run_noise, replicates, np.random.default_rng(seed)), level)
    runs = (late["params"].to_numpy(), late["tokens"].to_numpy())
    low_Q, high_Q = np.quantile(law.log_loss_replicates(*runs), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return rollouts.summary(
        "naive bootstrap", (1.0, np.inf), np.log(late["loss"].to_numpy()), law.log_loss(*runs), low_Q, high_Q, level
    )


def pooled(found: list[HeldOut], level: float) -> str:
    """All predictions together, and the middle of the tables."""
    inside, width = (np.concatenate([getattr(item, name) for item in found]) for name in ("inside_Q", "width_Q"))
    coverage = np.mean([item.score.coverage for item in found])
    middle = np.median([item.score.width_percent for item in found])
    words = (
        f"{len(found)} tables, {len(inside)} predictions at nominal {100 * level:.0f}%: coverage {100 * inside.mean():.1f}% "
        f"(mean of the tables {100 * coverage:.1f}%), median width {100 * np.median(width):.2f}% (median of the tables {middle:.2f}%)"
    )
    others = [item.naive for item in found if item.naive]
    if others:
        total = sum(score.coverage * score.predictions for score in others) / sum(score.predictions for score in others)
        middle = np.median([score.width_percent for score in others])
        words += f"; naive bootstrap: coverage {100 * total:.1f}%, median width {middle:.2f}%"
    return words


def main(arguments: list[str] | None = None) -> int:
    """Prints a line a table and the pooled figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--tables", type=pathlib.Path, required=True, help="a folder of published tables or of table files"
    )
    parser.add_argument("--only", default="", help="keeps the tables whose name contains this")
    parser.add_argument("--level", type=float, default=0.9, help="nominal coverage")
    parser.add_argument("--share", type=float, default=SHARE, help="of the runs, the cheapest, that are fitted")
    parser.add_argument("--replicates", type=int, default=200, help="of the naive bootstrap; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    options = parser.parse_args(arguments)
    try:
        tables = {name: item for name, item in published.read(options.tables).items() if options.only in name}
    except TableError as error:
        print(error, file=sys.stderr)
        return 2
    if not tables:
        print(f"no table's name contains {options.only!r}. Remedy: leave --only out to see the names.", file=sys.stderr)
        return 2
    print(HEADER)
    found = []
    for name, item in tables.items():
        found.append(held_out(item, name, options.level, options.share, options.replicates, options.seed))
        print(found[-1].in_words(), flush=True)
    print(pooled(found, options.level))
    return 0


if __name__ == "__main__":
    sys.exit(main())
