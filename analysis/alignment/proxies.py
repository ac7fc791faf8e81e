"""The gold-reward laboratory: one law of over-optimisation for each proxy (Gao et al. 2022, figure 1)."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from analysis.alignment import fitted_laws
from analysis.laws.over_optimisation_held_out import HeldOut
from analysis.laws.result import Estimate, NotFitted, Result, finite

# What a proxy is; its accuracy is what that came to.
AXES = ("proxy_params", "proxy_comparisons", "proxy_label_noise", "proxy_members")


@dataclasses.dataclass(frozen=True)
class ProxyLaw:
    """One proxy, climbed by one method from one policy.

    Attributes:
      gold_name, params, method: the panel and the method.
      axes: of `AXES`, NaN where not known.
      accuracy: of the proxy on held-out comparisons; NaN where not known.
      runs: how many climbed it.
      best_gain, best_kl: the measured policy with the highest gold reward.
      final_gain, final_kl, final_proxy_gain: of the policy that went furthest.
      law: of the gold reward, or why there is none.
      check: its held-out part; None where there are too few points.
      rows: the measured policies.
    """

    gold_name: str
    params: float
    method: str
    axes: dict[str, float]
    accuracy: float
    runs: int
    best_gain: float
    best_kl: float
    final_gain: float
    final_kl: float
    final_proxy_gain: float
    law: Result | NotFitted
    check: HeldOut | None
    rows: pd.DataFrame

    def estimate(self, name: str) -> Estimate | None:
        """A parameter of the law or what is derived from it; None without a law."""
        return None if isinstance(self.law, NotFitted) else {**self.law.parameters, **self.law.derived}[name]

    def to_json(self) -> dict[str, Any]:
        """Numbers or null, never NaN."""
        numbers = ("params", "accuracy", "runs", "best_gain", "best_kl", "final_gain", "final_kl", "final_proxy_gain")
        return {
            "gold": self.gold_name, "method": self.method, **{name: finite(getattr(self, name)) for name in numbers},
            **{name: finite(value) for name, value in self.axes.items()}, "law": self.law.to_json(),
            "held_out": None if self.check is None else self.check.to_json(),
        }  # fmt: skip


def several(frame: pd.DataFrame) -> bool:
    """Whether the policies of one method were optimised against several proxies."""
    return count(frame) > 1


def count(frame: pd.DataFrame) -> int:
    """How many proxies the policies were optimised against, as far as records tell them apart."""
    return len(frame[frame["proxy"].notna()][list(AXES)].drop_duplicates())


def of_frame(frame: pd.DataFrame, draws: int, level: float, rng: np.random.Generator) -> list[ProxyLaw]:
    """Every proxy of the panels and methods that met several.

    Args:
      frame: of :class:`analysis.alignment.measurements.Measurements`.
      draws, level, rng: of the laws' intervals.
    """
    laws = []
    for (gold_name, params, method), runs in frame.groupby(["gold_name", "params", "method"], dropna=False):
        if several(runs):
            proxies = [proxy for _, proxy in runs[runs["proxy"].notna()].groupby(list(AXES), dropna=False)]
            laws += [_of_proxy(gold_name, params, method, proxy, draws, level, rng) for proxy in proxies]
    return laws


def in_words(laws: list[ProxyLaw]) -> str:
    """How many proxies were over-optimised, and how well laws foretold what lay beyond the near half of their points."""
    turned = sum(_is_turned(law) for law in laws)
    checked = [law.check for law in laws if law.check is not None]
    points = sum(len(check.predicted_K) for check in checked)
    inside = sum(check.covered * len(check.predicted_K) for check in checked)
    gain = max((law.best_gain for law in laws), default=0.0)
    text = f"{turned} of {len(laws)} laws turn within their data: the whole interval of the peak lies there."
    if points:
        error = np.sqrt(sum(check.error**2 * len(check.predicted_K) for check in checked) / points)
        text += (
            f" Held out: fitted up to the median distance, {len(checked)} laws predict {points} points beyond with an error of {error:.3g} (the best gain of "
            f"all is {gain:.3g}); {100 * inside / points:.0f}% lie in their {100 * checked[0].level:.0f}% intervals."
        )
    return text


def _is_turned(law: ProxyLaw) -> bool:
    """Without a peak (beta below 0) the interval, which may be finite, is that of a trough."""
    peak = law.estimate("peak_distance")
    return peak is not None and 0 < peak.value < np.inf and peak.interval[1] ** 2 < law.final_kl


def _of_proxy(gold_name, params, method, proxy: pd.DataFrame, draws, level, rng) -> ProxyLaw:
    best, furthest = proxy.loc[proxy["gain"].idxmax()], proxy.loc[proxy["distance"].idxmax()]
    fitted = fitted_laws.fit(proxy, draws, level, rng)
    return ProxyLaw(
        str(gold_name), float(params), str(method), {axis: float(proxy[axis].iloc[0]) for axis in AXES},
        float(proxy["proxy_accuracy"].iloc[0]), proxy["run_id"].nunique(), float(best["gain"]), float(best["kl"]), float(furthest["gain"]),
        float(furthest["kl"]), float(furthest["proxy_gain"]), fitted.law, fitted.check, proxy,
    )  # fmt: skip
