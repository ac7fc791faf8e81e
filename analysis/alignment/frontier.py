"""The reward-KL frontier: what gold reward each method reaches at each distance from the initial policy, over its seeds.

Distances are d = sqrt(KL). Between the measured policies of one run the gain is interpolated linearly in d. A method with several settings is
represented at every distance by the setting that is best there *on the other seeds*: choosing on the mean that is reported would let noise choose, and
favour methods with many settings. So chosen, means are unbiased, but where settings tie exactly the seeds' choices depend on each other, and a 90% interval
of three to five seeds covers 76 to 85% (88% where settings of a seed share most of its noise); with one setting it covers 90%.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.alignment import proxies
from analysis.laws.result import Estimate

FloatArray = npt.NDArray[np.float64]

_GRID = 41


@dataclasses.dataclass(frozen=True)
class Curve:
    """The gain of one setting of a method over its seeds.

    Attributes:
      method, setting: whose.
      seeds: how many runs.
      distance_G: from 0 to the furthest that every run reached.
      mean_G: over runs.
      low_G, high_G: the t interval of that mean over seeds; NaN with one run.
    """

    method: str
    setting: str
    seeds: int
    distance_G: FloatArray
    mean_G: FloatArray
    low_G: FloatArray
    high_G: FloatArray


@dataclasses.dataclass(frozen=True)
class MethodFrontier:
    """What a method reaches.

    Attributes:
      method: its name.
      kind: of its runs.
      curves: one a setting.
      pareto: measured policies (means over seeds) that no other of this method beats in both KL and gold: setting, step, n, kl, gold, gold_error, seeds.
      area: mean gain over distances from 0 to `reach`, over seeds; None where it reached nothing.
      reach: the distance up to which all methods of the panel are compared.
      flags: what is doubtful.
    """

    method: str
    kind: str
    curves: tuple[Curve, ...]
    pareto: pd.DataFrame
    area: Estimate | None
    reach: float
    flags: tuple[str, ...]


def interpolated(run: pd.DataFrame, distance_G: FloatArray, column: str = "gain") -> FloatArray:
    """One run's column at some distances, float64 [G]; NaN beyond its furthest policy, and from 0 on linear in d."""
    mean = run.groupby("distance", as_index=False)[column].mean()
    distance_K, value_K = mean["distance"].to_numpy(), mean[column].to_numpy()
    if column == "gain" and distance_K[0] > 0:
        distance_K, value_K = np.append(0.0, distance_K), np.append(0.0, value_K)
    return np.interp(distance_G, distance_K, value_K, left=np.nan, right=np.nan)


def by_seed(method: pd.DataFrame, distance_G: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The gain of a method at some distances for every seed.

    Args:
      method: rows of one method in one panel.
      distance_G: where.

    Returns:
      seeds [S], and float64 [S, G]: of each seed the run with the setting that is best on the other seeds at that distance; NaN where it did not get there.
      With one seed the setting is chosen on itself.
    """
    seeds, settings = np.unique(method["seed"]), np.unique(method["setting"])
    gain_ExSxG = np.full((len(settings), len(seeds), len(distance_G)), np.nan)
    for (setting, seed), runs in method.groupby(["setting", "seed"]):
        each = np.stack([interpolated(run, distance_G) for _, run in runs.groupby("run_id")])
        gain_ExSxG[np.searchsorted(settings, setting), np.searchsorted(seeds, seed)] = each.mean(axis=0)
    chosen_SxG = np.full(gain_ExSxG.shape[1:], np.nan)
    has_ExS = np.isfinite(gain_ExSxG).any(axis=2)
    for index in range(len(seeds)):
        others_ExS = has_ExS & ((np.arange(len(seeds)) != index) | (len(seeds) == 1))
        # A setting counts where all its other seeds got, for a mean over those that got there would choose survivors; and where this seed got.
        judged_ExG = np.stack(
            [
                gain_SxG[others_S].mean(axis=0) if others_S.any() else np.full(len(distance_G), np.nan)
                for gain_SxG, others_S in zip(gain_ExSxG, others_ExS, strict=True)
            ]
        )
        judged_ExG = np.where(np.isfinite(judged_ExG) & np.isfinite(gain_ExSxG[:, index]), judged_ExG, -np.inf)
        own_G = gain_ExSxG[np.argmax(judged_ExG, axis=0), index, np.arange(len(distance_G))]
        chosen_SxG[index] = np.where(np.isfinite(judged_ExG).any(axis=0), own_G, np.nan)
    return seeds, chosen_SxG


def curve(setting: pd.DataFrame, level: float) -> Curve:
    """The mean over the runs of one setting, with its band."""
    runs = [run for _, run in setting.groupby("run_id")]
    distance_G = np.linspace(0.0, min(run["distance"].max() for run in runs), _GRID)
    gain_SxG = np.stack([interpolated(run, distance_G) for run in runs])
    mean_G, half_G = mean_and_half_width(gain_SxG, level)
    first = setting.iloc[0]
    return Curve(first["method"], first["setting"], len(runs), distance_G, mean_G, mean_G - half_G, mean_G + half_G)


def mean_and_half_width(value_SxG: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """Means over seeds with half the width of their t intervals, float64 [G]; the width is NaN for one seed."""
    count = len(value_SxG)
    if count < 2:
        return value_SxG.mean(axis=0), np.full(value_SxG.shape[1], np.nan)
    error_G = value_SxG.std(axis=0, ddof=1) / np.sqrt(count)
    return value_SxG.mean(axis=0), stats.t.ppf((1 + level) / 2, count - 1) * error_G


def pareto(method: pd.DataFrame) -> pd.DataFrame:
    """The measured policies of a method that no other beats in both: less KL and at least as much gold reward.

    Policies are means over seeds at one setting, step and n; `gold_error` is over seeds (over prompts where there is one seed).
    """
    keys = ["setting", "step", "n"]
    grouped = method.groupby(keys, dropna=False)
    points = grouped[["kl", "distance", "gold", "gain"]].mean()
    points["seeds"] = grouped["run_id"].nunique()
    over_seeds = grouped["gold"].std(ddof=1) / np.sqrt(points["seeds"])
    points["gold_error"] = over_seeds.where(points["seeds"] > 1, grouped["gold_error"].mean())
    points = points.reset_index().sort_values(["kl", "gold"], ascending=[True, False], ignore_index=True)
    best_before = points["gold"].cummax().shift(fill_value=-np.inf)
    return points[points["gold"] > best_before].reset_index(drop=True)


def of_panel(panel: pd.DataFrame, level: float) -> list[MethodFrontier]:
    """The frontier of every method that moved away from the initial policy, those with the largest area first."""
    moved = [method for _, method in panel.groupby("method") if method["distance"].max() > 0]
    if not moved:
        return []
    reach = min(reach_of(method) for method in moved)
    found = [_of_method(method, reach, level) for method in moved]
    return sorted(found, key=lambda item: -item.area.value if item.area else np.inf)


def reach_of(method: pd.DataFrame) -> float:
    """The furthest distance that all seeds reached, in the setting that went furthest."""
    furthest = method.groupby(["setting", "run_id"])["distance"].max()
    return float(furthest.groupby("setting").min().max())


def _of_method(method: pd.DataFrame, reach: float, level: float) -> MethodFrontier:
    seeds, gain_SxG = by_seed(method, np.linspace(0.0, reach, _GRID))
    complete = np.isfinite(gain_SxG).all(axis=1)
    area, flags = None, []
    if complete.any() and reach > 0:
        mean, half = mean_and_half_width(gain_SxG[complete].mean(axis=1, keepdims=True), level)
        interval = (float(mean[0] - half[0]), float(mean[0] + half[0])) if complete.sum() > 1 else None
        area = Estimate(
            float(mean[0]), interval, level, f"t interval over {complete.sum()} seeds" if interval else "one seed"
        )
    if len(seeds) < 3:
        flags.append(
            f"{len(seeds)} seed{'s' * (len(seeds) > 1)}: no band"
            if len(seeds) < 2
            else "2 seeds: the bands are very wide"
        )
    if len(seeds) == 1 and method["setting"].nunique() > 1:
        flags.append("the setting was chosen on the seed that is shown, which flatters methods with many settings")
    if (count := proxies.count(method)) > 1:
        flags.append(f"a mean over {count} proxies, good and bad; each has a law of its own")
    if not complete.all():
        flags.append(
            f"{int((~complete).sum())} of {len(seeds)} seeds did not reach d = {reach:.3g} in the chosen setting"
        )
    curves = tuple(curve(setting, level) for _, setting in method.groupby("setting"))
    first = method.iloc[0]
    return MethodFrontier(first["method"], first["kind"], curves, pareto(method), area, reach, tuple(flags))
