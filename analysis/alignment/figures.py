"""The figures of a study of alignment: which there are, and their captions."""

import itertools
import math
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib.figure import Figure

from analysis.alignment import plots
from analysis.alignment.proxies import AXES, ProxyLaw
from analysis.alignment.study import AlignmentStudy, Panel
from analysis.report.figures import STYLE, Drawn, encoded
from analysis.report.formatting import short

_COLUMNS = 2


def draw_all(study: AlignmentStudy) -> list[Drawn]:
    """Every figure that the study supports, in the order of the report."""
    with matplotlib.rc_context(STYLE):
        return list(_drawn(study))


def panel_name(panel: Panel) -> str:
    """For readers: the gold reward and the size."""
    return panel.gold_name + ("" if math.isnan(panel.params) else f", N = {short(panel.params)}")


def _drawn(study: AlignmentStudy) -> Iterator[Drawn]:
    look = plots.looks(sorted(study.measurements.frame["method"].unique()))
    percent = f"{100 * study.options.level:.0f}%"
    for index, panel in enumerate(study.panels):
        if panel.frontiers:
            yield from _of_panel(panel, f"-{index}" if len(study.panels) > 1 else "", look, percent)
    if study.sizes:
        figure = _grid_figure(len(study.sizes), 3.0)
        for number, item in enumerate(study.sizes):
            ax = figure.add_subplot(_rows(len(study.sizes)), _COLUMNS, number + 1)
            plots.gain_by_size(item, look, ax).set(xlabel="parameters", ylabel="gain in gold reward")
        figure.tight_layout()
        yield encoded(
            figure, "gain_by_size", "Gain against size",
            f"The gain in gold reward at one KL of every run, against the parameters of its model, and the closer of a power law and a logarithm with "
            f"its {percent} interval.",
        )  # fmt: skip
    if study.proxies:
        yield from _of_proxies(study.proxies, percent)


def _of_proxies(laws: Sequence[ProxyLaw], percent: str) -> Iterator[Drawn]:
    methods = sorted({item.method for item in laws})
    of_method = {method: [item for item in laws if item.method == method] for method in methods}
    figure = _grid_figure(len(methods), 3.6)
    for number, method in enumerate(methods):
        ax = figure.add_subplot(_rows(len(methods)), _COLUMNS, number + 1)
        plots.proxy_curves(of_method[method], ax).set(title=method, xlabel="√KL (nats$^{1/2}$)", ylabel=plots.GAIN)
    figure.tight_layout()
    yield encoded(
        figure, "proxy_curves", "The law of each proxy",
        "Gold reward of the policies that climbed each proxy, and the law fitted to it: from the least accurate proxy (dark) to the most accurate.",
    )  # fmt: skip
    axes = [axis for axis in AXES if len({item.axes[axis] for item in laws}) > 1]
    rows = [(method, name) for method in methods for name in ("alpha", "beta")]
    figure = Figure((2.9 * len(axes), 2.4 * len(rows)))
    for number, ((method, name), axis) in enumerate(itertools.product(rows, axes)):
        if len({item.axes[axis] for item in of_method[method]}) > 1:
            ax = figure.add_subplot(len(rows), len(axes), number + 1)
            plots.proxy_coefficient(of_method[method], name, axis, ax).set_title(method, fontsize="small")
    figure.tight_layout()
    yield encoded(
        figure, "proxy_coefficients", "Coefficients of the laws against the proxies' axes",
        f"alpha and beta of each proxy's law with {percent} intervals. Lines join proxies that are alike in all other axes.",
    )  # fmt: skip


def _of_panel(panel: Panel, suffix: str, look: plots.Looks, percent: str) -> Iterator[Drawn]:
    name = panel_name(panel)
    figure = Figure((8.6, 4.6))
    plots.frontier(panel, look, figure.add_subplot())
    yield encoded(
        figure, f"frontier{suffix}", f"Reward-KL frontier: {name}",
        f"{name}. Points: measured policies. Thin lines: means over the seeds of a setting, with {percent} t bands. Steps: the best that a method's policies "
        "(means over seeds) reach within each KL.",
    )  # fmt: skip
    if panel.laws:
        figure = _grid_figure(len(panel.laws), 3.1)
        for number, item in enumerate(panel.laws):
            ax = figure.add_subplot(_rows(len(panel.laws)), _COLUMNS, number + 1)
            plots.law(item, panel.frame, look, ax).set(
                xlabel="√KL (nats$^{1/2}$)", ylabel="reward above the initial policy"
            )
            ax.legend(fontsize="x-small", frameon=False)
        figure.tight_layout()
        yield encoded(
            figure, f"laws{suffix}", f"Over-optimisation: {name}",
            f"{name}. Gold (filled, with standard errors) and proxy reward (open) of every measured policy; the law of the gold reward with its "
            f"{percent} band, dashed beyond the data; the peak with its interval.",
        )  # fmt: skip
    if panel.comparisons:
        figure = Figure((6.8, 0.8 + 0.4 * len(panel.comparisons)))
        plots.differences(panel.comparisons, figure.add_subplot())
        yield encoded(
            figure, f"differences{suffix}", f"Methods compared: {name}",
            f"{name}. Differences of gold reward, averaged over the KL that both methods reach, with {percent} intervals that are not adjusted; "
            "filled: below 5% after Holm.",
        )  # fmt: skip


def _rows(count: int) -> int:
    return math.ceil(count / _COLUMNS)


def _grid_figure(count: int, height: float) -> Figure:
    return Figure((8.6, height * _rows(count)))
