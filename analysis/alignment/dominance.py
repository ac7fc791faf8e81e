"""Whether one method is better than another at every distance that both reach.

At each of some distances the difference of two methods' gains is taken for every seed that both have (paired: same seed, same order of examples and
same prompts), with the settings chosen as in :mod:`analysis.alignment.frontier`, and tested by t over seeds. Dominance is the claim that *all*
differences are positive; its p-value is the largest of the pointwise one-sided ones (an intersection-union test, Berger 1982, which needs no
correction over distances). The mean difference over the common range is tested two-sided. Both are adjusted by Holm over all pairs of a study.
Percentile bootstraps over three to five seeds reject too often and are not used. Where a method has one seed, standard errors over prompts take
their place, unpaired; they do not hold what other seeds would give. Where a method has several settings that tie, what frontier.py says of the
coverage holds for these tests too.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from align.statistics import multiplicity
from analysis.alignment import frontier
from analysis.laws.result import Estimate, finite

FloatArray = npt.NDArray[np.float64]

_GRID = 15


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The first method minus the second, which has the smaller mean gain.

    Attributes:
      first, second: the methods.
      kl_range: the KL in common, in nats.
      seeds: pairs, or seeds of either method where they have none in common (0 where errors over prompts were used).
      errors: "paired seeds", "unpaired seeds" or "prompts".
      distance_G, difference_G, low_G, high_G: pointwise, with intervals.
      mean: difference over the common range.
      p_mean: two-sided, of no mean difference.
      p_dominance: of "the first is not above the second everywhere".
      adjusted_mean, adjusted_dominance: by Holm over all pairs of the study; NaN before that.
    """

    first: str
    second: str
    kl_range: tuple[float, float]
    seeds: int
    errors: str
    distance_G: FloatArray
    difference_G: FloatArray
    low_G: FloatArray
    high_G: FloatArray
    mean: Estimate
    p_mean: float
    p_dominance: float
    adjusted_mean: float = float("nan")
    adjusted_dominance: float = float("nan")

    @property
    def verdict(self) -> str:
        """In words, at 5% after Holm."""
        if self.adjusted_dominance < 0.05:
            return f"{self.first} dominates"
        return f"{self.first} is better on average" if self.adjusted_mean < 0.05 else "not told apart"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "first": self.first, "second": self.second, "kl_range": list(self.kl_range), "seeds": self.seeds, "errors": self.errors,
            "mean_difference": self.mean.to_json(), "p_mean": finite(self.p_mean), "p_dominance": finite(self.p_dominance),
            "p_mean_adjusted": finite(self.adjusted_mean), "p_dominance_adjusted": finite(self.adjusted_dominance), "verdict": self.verdict,
            "distance": self.distance_G.tolist(), "difference": self.difference_G.tolist(),
            "low": [finite(value) for value in self.low_G], "high": [finite(value) for value in self.high_G],
        }  # fmt: skip


def of_panel(panel: pd.DataFrame, level: float) -> list[Comparison]:
    """All pairs of methods that moved, not yet adjusted; pairs without a common range are left out."""
    moved = [method for _, method in panel.groupby("method") if method["distance"].max() > 0]
    return [found for pair in itertools.combinations(moved, 2) if (found := compare(*pair, level)) is not None]


def adjusted(panels: Sequence[Sequence[Comparison]]) -> list[list[Comparison]]:
    """The same comparisons with p-values that hold for all of them together, whatever their panel."""
    pairs = [pair for panel in panels for pair in panel]
    mean_M, dominance_M = (
        multiplicity.holm([getattr(pair, name) for pair in pairs]) for name in ("p_mean", "p_dominance")
    )
    together = iter(
        dataclasses.replace(pair, adjusted_mean=float(mean), adjusted_dominance=float(dominance))
        for pair, mean, dominance in zip(pairs, mean_M, dominance_M, strict=True)
    )
    return [list(itertools.islice(together, len(panel))) for panel in panels]


def compare(first: pd.DataFrame, second: pd.DataFrame, level: float) -> Comparison | None:
    """Compares the rows of two methods; None where they have no distance in common."""
    low = max(method[method["distance"] > 0]["distance"].min() for method in (first, second))
    high = min(frontier.reach_of(method) for method in (first, second))
    if not low < high:
        return None
    distance_G = np.linspace(low, high, _GRID)
    found = _differences(first, second, distance_G)
    if found is None:
        return None
    difference_G, error_G, degrees, mean, mean_error, seeds, errors = found
    if mean < 0:
        first, second, difference_G, mean = second, first, -difference_G, -mean
    t = stats.t.ppf((1 + level) / 2, degrees)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Exact rewards have no error: x/0 is infinite, and 0/0 (no difference at all) is no evidence. An unknown error stays unknown.
        one_sided_G = stats.t.sf(np.where((error_G == 0) & (difference_G == 0), 0.0, difference_G / error_G), degrees)
        p_mean = 1.0 if mean == 0 else float(2 * stats.t.sf(np.float64(abs(mean)) / mean_error, degrees))
    return Comparison(
        first["method"].iloc[0], second["method"].iloc[0], (float(low**2), float(high**2)), seeds, errors, distance_G, difference_G,
        difference_G - t * error_G, difference_G + t * error_G,
        Estimate(mean, (mean - t * mean_error, mean + t * mean_error), level, f"t interval, {errors}"), p_mean, float(one_sided_G.max()),
    )  # fmt: skip


def _differences(
    first: pd.DataFrame, second: pd.DataFrame, distance_G: FloatArray
) -> tuple[FloatArray, FloatArray, float, float, float, int, str] | None:
    """Differences, their errors and degrees of freedom, the mean difference and its error, seeds, and whence the errors; None without a complete seed."""
    (seeds_a, gain_AxG), (seeds_b, gain_BxG) = (
        _complete(*frontier.by_seed(method, distance_G)) for method in (first, second)
    )
    common, in_a, in_b = np.intersect1d(seeds_a, seeds_b, return_indices=True)
    if len(common) > 1:
        paired_SxG = gain_AxG[in_a] - gain_BxG[in_b]
        root = np.sqrt(len(common))
        mean_S = paired_SxG.mean(axis=1)
        return (
            paired_SxG.mean(axis=0), paired_SxG.std(axis=0, ddof=1) / root, len(common) - 1.0, float(mean_S.mean()),
            float(mean_S.std(ddof=1) / root), len(common), "paired seeds",
        )  # fmt: skip
    if not (len(seeds_a) and len(seeds_b)):
        return None
    difference_G = gain_AxG.mean(axis=0) - gain_BxG.mean(axis=0)
    mean = float(difference_G.mean())
    if min(len(seeds_a), len(seeds_b)) > 1:
        squares = [_squared_errors(gain) for gain in (gain_AxG, gain_BxG)]
        fewest = min(len(seeds_a), len(seeds_b))
        # The fewest degrees of either side: Welch's lie above it.
        return (
            difference_G, np.sqrt(squares[0][0] + squares[1][0]), fewest - 1.0, mean,
            float(np.sqrt(squares[0][1] + squares[1][1])), fewest, "unpaired seeds",
        )  # fmt: skip
    error_G = np.sqrt(sum(_over_prompts(method, distance_G) ** 2 for method in (first, second)))
    # Neighbouring points share their prompts, so the mean is no more certain than a point.
    return difference_G, error_G, np.inf, mean, float(error_G.mean()), 0, "prompts"


def _complete(seeds: npt.NDArray[np.int64], gain_SxG: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The seeds that reached every distance."""
    there = np.isfinite(gain_SxG).all(axis=1)
    return seeds[there], gain_SxG[there]


def _squared_errors(gain_SxG: FloatArray) -> tuple[FloatArray, float]:
    count = len(gain_SxG)
    return gain_SxG.var(axis=0, ddof=1) / count, float(gain_SxG.mean(axis=1).var(ddof=1) / count)


def _over_prompts(method: pd.DataFrame, distance_G: FloatArray) -> FloatArray:
    """Standard errors over prompts, interpolated and averaged over runs (they are of the same prompts, so they do not average out)."""
    known = method.dropna(subset="gold_error")
    if known.empty:
        return np.full(len(distance_G), np.nan)
    errors = []
    for _, run in known.groupby("run_id"):
        mean = run.groupby("distance")["gold_error"].mean()
        errors.append(np.interp(distance_G, mean.index.to_numpy(), mean.to_numpy()))
    return np.mean(errors, axis=0)
