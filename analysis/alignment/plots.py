"""Plots of a study of alignment. Every function takes data and an Axes, draws, and returns the Axes; none opens or shows a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from analysis.alignment.dominance import Comparison
from analysis.alignment.proxies import AXES, ProxyLaw
from analysis.alignment.study import MethodLaw, Panel, SizeLaw
from analysis.laws.forms.form import evaluate
from analysis.laws.result import Result
from analysis.report.figures import INK
from analysis.report.plots import BLUE, GREY, MARKERS, ORANGE, PURPLE, VERMILION, count_ticks, grid, size_colours

_COLOURS = (BLUE, VERMILION, "#009E73", PURPLE, ORANGE, "#7A5195", "#6B8E23", "#A0522D")
DISTANCE = "distance from the initial policy, √KL (nats$^{1/2}$)"
GAIN = "gold reward above the initial policy"

# Method -> colour and marker.
Looks = Mapping[str, tuple[str, str]]


def looks(methods: Sequence[str]) -> Looks:
    """One colour and one marker a method, the same on every figure of a report; beyond eight colours the markers tell them apart."""
    return {
        name: (_COLOURS[index % len(_COLOURS)], MARKERS[index % len(MARKERS)]) for index, name in enumerate(methods)
    }


def frontier(panel: Panel, look: Looks, ax: Axes) -> Axes:
    """Every measured policy, the mean over seeds of every setting with its band, and the best policies of each method as steps."""
    for item in reversed(panel.frontiers):
        colour, marker = look[item.method]
        rows = panel.frame[panel.frame["method"] == item.method]
        ax.plot(rows["distance"], rows["gain"], marker, color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        for curve in item.curves:
            ax.plot(curve.distance_G, curve.mean_G, color=colour, linewidth=0.9, alpha=0.8)
            if np.isfinite(curve.low_G).all():
                ax.fill_between(curve.distance_G, curve.low_G, curve.high_G, color=colour, alpha=0.10, linewidth=0)
        best = item.pareto
        # Beyond the best policy nothing better is known.
        ax.step(
            [*best["distance"], rows["distance"].max()], [*best["gain"], best["gain"].iloc[-1]], where="post", color=colour, linewidth=2.0,
            label=item.method,
        )  # fmt: skip
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel=DISTANCE, ylabel=GAIN, xlim=(0, None))
    grid(ax)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def law(item: MethodLaw, frame: pd.DataFrame, look: Looks, ax: Axes) -> Axes:
    """Gold and proxy reward of one method's policies, the fitted law with its band, and the peak with its interval."""
    colour, marker = look[item.method]
    rows = frame[frame["method"] == item.method]
    for index, (_, run) in enumerate(rows.groupby("run_id")):
        ax.plot(
            run["distance"], run["proxy_gain"], marker, markerfacecolor="none", markeredgecolor=GREY, markersize=4, markeredgewidth=0.8,
            linestyle=":", linewidth=0.7, color=GREY, label=None if index else "proxy",
        )  # fmt: skip
        ax.errorbar(
            run["distance"], run["gain"], yerr=run["gold_error"].fillna(0.0), fmt=marker, color=colour, markersize=4, elinewidth=0.8,
            label=None if index else "gold",
        )  # fmt: skip
    if isinstance(item.law, Result):
        _fitted(item.law, float(rows["distance"].max()), ax)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(title=item.method, xlim=(0, None))
    grid(ax)
    return ax


def _fitted(fitted: Result, furthest: float, ax: Axes) -> None:
    distance_G = np.linspace(1e-3, furthest * 1.15, 120)
    x_GxV = np.log(distance_G)[:, None]
    form = fitted.details["form"]
    inside_G = distance_G <= furthest
    value_G = evaluate(form, fitted.theta[None], x_GxV)[0]
    ax.plot(distance_G[inside_G], value_G[inside_G], color=INK, linewidth=1.4, label="law")
    ax.plot(distance_G[~inside_G], value_G[~inside_G], color=INK, linewidth=1.4, linestyle="--")
    if len(fitted.replicates) > 20:
        tail = 50 * (1 - fitted.level)
        ax.fill_between(
            distance_G, *_band(evaluate(form, fitted.replicates, x_GxV), tail), color=INK, alpha=0.12, linewidth=0
        )
    peak = fitted.derived["peak_distance"]
    if peak.value <= distance_G[-1]:
        ax.axvline(peak.value, color=ORANGE, linewidth=1.2, label="peak")
        ax.axvspan(peak.interval[0], min(peak.interval[1], distance_G[-1]), color=ORANGE, alpha=0.15, linewidth=0)


def _band(value_RxG: npt.NDArray[np.float64], tail: float) -> npt.NDArray[np.float64]:
    return np.percentile(value_RxG, [tail, 100 - tail], axis=0)


def differences(comparisons: Sequence[Comparison], ax: Axes) -> Axes:
    """The mean difference of every pair of methods over the KL that both reach, the largest at the top."""
    ordered = sorted(comparisons, key=lambda pair: pair.mean.value)
    for row, pair in enumerate(ordered):
        ax.plot(pair.mean.interval, [row, row], color=BLUE, linewidth=2.5)
        ax.plot(
            [pair.mean.value],
            [row],
            "o" if pair.adjusted_mean < 0.05 else "D",
            color=VERMILION,
            markersize=6,
            markerfacecolor=VERMILION if pair.adjusted_mean < 0.05 else "none",
        )
    ax.axvline(0, color=GREY, linewidth=1, linestyle=":")
    ax.set(
        yticks=range(len(ordered)), ylim=(-0.6, len(ordered) - 0.4), xlabel="mean difference in gold reward at equal KL"
    )
    ax.set_yticklabels([f"{pair.first} − {pair.second}" for pair in ordered])
    grid(ax)
    return ax


def gain_by_size(item: SizeLaw, look: Looks, ax: Axes) -> Axes:
    """The gain of every run at one KL against its parameters, and the closer of the two forms with its interval."""
    colour, marker = look[item.method]
    ax.plot(item.table["params"], item.table["gain"], marker, color=colour, markersize=5)
    sizes_G = np.geomspace(item.table["params"].min() / 1.3, item.table["params"].max() * 1.3, 60)
    value_G, low_G, high_G = item.laws[0].predict(sizes_G)
    ax.plot(sizes_G, value_G, color=INK, linewidth=1.4)
    ax.fill_between(sizes_G, low_G, high_G, color=INK, alpha=0.12, linewidth=0)
    ax.set(xscale="log", title=f"{item.method}, KL = {item.kl:.3g} nats")
    count_ticks(ax.xaxis)
    grid(ax)
    return ax


def proxy_curves(laws: Sequence[ProxyLaw], ax: Axes) -> Axes:
    """The gold reward of one method's policies and the law of each proxy, coloured from the least to the most accurate one."""
    ordered = sorted(laws, key=lambda item: item.accuracy)
    labelled = {0, len(ordered) // 2, len(ordered) - 1}
    for index, (item, colour) in enumerate(zip(ordered, size_colours(len(ordered)), strict=True)):
        for _, run in item.rows.groupby("run_id"):
            ax.plot(run["distance"], run["gain"], "o", color=colour, markersize=3, alpha=0.6, markeredgewidth=0)
        if isinstance(item.law, Result):
            distance_G = np.linspace(1e-3, float(item.rows["distance"].max()), 80)
            reward_G = evaluate(item.law.details["form"], item.law.theta[None], np.log(distance_G)[:, None])[0]
            label = f"{item.accuracy:.2f}" if index in labelled else None
            ax.plot(distance_G, reward_G, color=colour, linewidth=1.3, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlim=(0, None))
    ax.legend(title="accuracy", fontsize="x-small", title_fontsize="x-small", frameon=False)
    grid(ax)
    return ax


def proxy_coefficient(laws: Sequence[ProxyLaw], name: str, axis: str, ax: Axes) -> Axes:
    """One coefficient of every proxy's law with its interval against an axis; lines join proxies that are alike in all else."""
    groups: dict[tuple[str, ...], list[ProxyLaw]] = {}
    for item in laws:
        if item.estimate(name) is not None and np.isfinite(item.axes[axis]):
            groups.setdefault(tuple(str(item.axes[other]) for other in AXES if other != axis), []).append(item)
    joined = [sorted(items, key=lambda item: item.axes[axis]) for items in groups.values() if len(items) > 1]
    for index, items in enumerate(joined):
        value_K = np.array([item.axes[axis] for item in items])
        found_K = np.array([item.estimate(name).value for item in items])
        ends_Kx2 = np.array([item.estimate(name).interval for item in items])
        colour = _COLOURS[index % len(_COLOURS)]
        ax.errorbar(
            value_K, found_K, yerr=np.abs(ends_Kx2.T - found_K[None, :]), fmt=MARKERS[index % len(MARKERS)], color=colour, linestyle="-", markersize=4,
            linewidth=1.0, elinewidth=0.8,
        )  # fmt: skip
    if axis != "proxy_label_noise":
        ax.set(xscale="log")
        count_ticks(ax.xaxis)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel=axis.removeprefix("proxy_").replace("_", " "), ylabel=name)
    grid(ax)
    return ax
