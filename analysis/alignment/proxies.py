"""The gold-reward laboratory: one law of over-optimisation for each proxy, and what the proxies' axes do to it (Gao et al. 2022, figures 3 and 4)."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.laws import over_optimisation
from analysis.laws.errors import TableError
from analysis.laws.result import NotFitted, Result, finite

# What a proxy is; its accuracy is what that came to.
AXES = ("proxy_params", "proxy_comparisons", "proxy_label_noise", "proxy_members")


@dataclasses.dataclass(frozen=True)
class ProxyLaw:
    """One proxy, climbed by one method from one policy.

    Attributes:
      gold_name, params, method: the panel and the method.
      axes: of `AXES`, NaN where not known.
      accuracy: of the proxy on held-out comparisons; NaN where not known.
      best_gain, best_kl: the measured policy with the highest gold reward.
      final_gain, final_proxy_gain: of the policy that went furthest.
      law: of the gold reward, or why there is none.
    """

    gold_name: str
    params: float
    method: str
    axes: dict[str, float]
    accuracy: float
    best_gain: float
    best_kl: float
    final_gain: float
    final_proxy_gain: float
    law: Result | NotFitted

    def to_json(self) -> dict[str, Any]:
        """Numbers or null, never NaN."""
        numbers = ("params", "accuracy", "best_gain", "best_kl", "final_gain", "final_proxy_gain")
        return {
            "gold": self.gold_name, "method": self.method, **{name: finite(getattr(self, name)) for name in numbers},
            **{name: finite(value) for name, value in self.axes.items()}, "law": self.law.to_json(),
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Trend:
    """How what a method reaches moves with one axis of its proxies.

    Attributes:
      method, axis: of what; the axis may be "proxy_accuracy".
      proxies: how many have it.
      correlation: Kendall's tau-b of the best gain with the axis.
      p_value: of none, two-sided.
    """

    method: str
    axis: str
    proxies: int
    correlation: float
    p_value: float


def several(frame: pd.DataFrame) -> bool:
    """Whether the policies of one method were optimised against several proxies."""
    return len(frame[frame["proxy"].notna()][list(AXES)].drop_duplicates()) > 1


def of_frame(
    frame: pd.DataFrame, form_of: Any, draws: int, level: float, rng: np.random.Generator
) -> tuple[list[ProxyLaw], list[Trend]]:
    """Every proxy of the panels and methods that met several, and trends along the axes that took several values.

    Args:
      frame: of :class:`analysis.alignment.measurements.Measurements`.
      form_of: from a kind of run to the name of its law's form.
      draws, level, rng: of the laws' intervals.
    """
    laws = []
    for (gold_name, params, method), runs in frame.groupby(["gold_name", "params", "method"], dropna=False):
        if several(runs):
            proxies = [proxy for _, proxy in runs[runs["proxy"].notna()].groupby(list(AXES), dropna=False)]
            laws += [_of_proxy(gold_name, params, method, proxy, form_of, draws, level, rng) for proxy in proxies]
    trends = [
        trend
        for method in sorted({law.method for law in laws})
        for axis in (*AXES, "proxy_accuracy")
        if (trend := _trend([law for law in laws if law.method == method], method, axis)) is not None
    ]
    return laws, trends


def _of_proxy(gold_name, params, method, proxy: pd.DataFrame, form_of, draws, level, rng) -> ProxyLaw:
    best, furthest = proxy.loc[proxy["gain"].idxmax()], proxy.loc[proxy["distance"].idxmax()]
    form = form_of(proxy["kind"].iloc[0])
    table = proxy[["kl", "gain", "run_id"]].rename(columns={"gain": "gold_reward", "run_id": "cluster"})
    try:
        law = over_optimisation.fit(table, form, draws, level, rng)
    except TableError as error:
        described = over_optimisation.FORMS[form]
        law = NotFitted(described.name, described.equation, described.source, error.what)
    return ProxyLaw(
        str(gold_name), float(params), str(method), {axis: float(proxy[axis].iloc[0]) for axis in AXES},
        float(proxy["proxy_accuracy"].iloc[0]), float(best["gain"]), float(best["kl"]), float(furthest["gain"]),
        float(furthest["proxy_gain"]), law,
    )  # fmt: skip


def _trend(laws: list[ProxyLaw], method: str, axis: str) -> Trend | None:
    values = np.array([law.accuracy if axis == "proxy_accuracy" else law.axes[axis] for law in laws])
    known = np.isfinite(values)
    if len(np.unique(values[known])) < 3:
        return None
    gains = np.array([law.best_gain for law in laws])[known]
    found = stats.kendalltau(values[known], gains)
    return Trend(method, axis, int(known.sum()), float(found.statistic), float(found.pvalue))
