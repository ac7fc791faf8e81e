"""Plots of laws and runs tables. Every function takes data and an Axes, draws, and returns the Axes; none opens or shows a figure."""

import json

import numpy as np
import numpy.typing as npt
from etils import epath
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, LinearSegmentedColormap

from analysis.laws.forecasts.check import Check
from analysis.laws.optima import frontier, optimal
from analysis.laws.optima.comparison import Approach
from analysis.laws.optima.isoflop import Slice, vertices
from analysis.laws.result import Result
from analysis.laws.tables.table import RunsTable
from analysis.report.formatting import short

# After Okabe and Ito's palette: told apart by colour-blind readers, and of middle lightness, so legible on light and
# dark pages.
BLUE, ORANGE, VERMILION, PURPLE = "#2E8BC9", "#E69F00", "#D55E00", "#CC79A7"
GREY = "#8a8a8a"
# The middle of viridis: its ends vanish on dark or on light paper.
SEQUENCE: Colormap = LinearSegmentedColormap.from_list(
    "middle_viridis", colormaps["viridis"](np.linspace(0.25, 0.88, 64))
)
MARKERS = "osD^vPX*<>"
_MAX_LEGEND = 12


def size_colours(count: int) -> npt.NDArray[np.float64]:
    """One colour a size, small to large, float64[count, 4]."""
    return SEQUENCE(np.linspace(0, 1, max(count, 2)))[:count]


def _by_size(table: RunsTable) -> list[tuple[npt.NDArray[np.int64], str | None, npt.NDArray[np.float64], str]]:
    """Rows, label, colour and marker of every size; among many sizes only the ends and the middle are labelled."""
    size_K = table.codes("params")
    sizes = np.unique(size_K)
    named = set(range(len(sizes))) if len(sizes) <= _MAX_LEGEND else {0, len(sizes) // 2, len(sizes) - 1}
    found = []
    for index, (size, colour) in enumerate(zip(sizes, size_colours(len(sizes)), strict=True)):
        rows = np.flatnonzero(size_K == size)
        label = f"N = {short(table.frame['params'].iloc[rows].mean())}" if index in named else None
        found.append((rows, label, colour, MARKERS[index % len(MARKERS)]))
    return found


def _legend(ax: Axes, title: str | None = None) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if 0 < len(labels) <= _MAX_LEGEND + 6:
        ax.legend(
            handles, labels, title=title, fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )


def grid(ax: Axes) -> None:
    """Faint lines at the major ticks, and no frame above and to the right."""
    ax.grid(True, which="major", color=GREY, alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def isoflop_curves(law: Result, table: RunsTable, ax: Axes) -> Axes:
    """Approach 2: the losses of every budget, their parabolas and minima."""
    slices: list[Slice] = law.details["slices"]
    for part, colour in zip(slices, size_colours(len(slices)), strict=True):
        log_loss = part.reading @ table.log("loss")
        ax.plot(np.exp(part.log_params), np.exp(log_loss), "o", color=colour, markersize=4)
        u = part.log_params - part.log_params.mean()
        coefficients = np.polynomial.polynomial.polyfit(u, np.exp(log_loss), 2)
        line = np.linspace(u.min(), u.max(), 60)
        ax.plot(
            np.exp(line + part.log_params.mean()), np.polynomial.polynomial.polyval(line, coefficients), color=colour, linewidth=1.4,
            label=f"{np.exp(part.log_flops):.2g} FLOPs",
        )  # fmt: skip
        vertex = vertices(part.log_params, log_loss[None])
        ax.plot(
            np.exp(vertex.position[0]), np.exp(vertex.log_loss[0]), "*", color=VERMILION, markersize=10, markeredgewidth=0,
            label="minimum" if part is slices[-1] else None,
        )  # fmt: skip
    ax.set(xscale="log", xlabel=f"parameters ({table.conventions.parameters})", ylabel=f"loss ({table.loss_unit})")
    count_ticks(ax.xaxis)
    grid(ax)
    _legend(ax, "read off size curves" if law.details["interpolated"] else "budget")
    return ax


def loss_contours(law: Result, table: RunsTable, ax: Axes, held_out: bool = True) -> Axes:
    """Approach 3: contours of L(N, D), the runs, and the compute-efficient frontier."""
    points = [table.frame, *([table.held_out] if held_out and len(table.held_out) else [])]
    low_n, high_n = (f(f(part["params"]) for part in points) for f in (min, max))
    low_d, high_d = (f(f(part["tokens"]) for part in points) for f in (min, max))
    n = np.geomspace(low_n / 2, high_n * 3, 90)
    d = np.geomspace(low_d / 2, high_d * 3, 90)
    surface = np.exp(law.log_loss(np.repeat(n, len(d)), np.tile(d, len(n)))).reshape(len(n), len(d))
    lowest = surface.min() * 1.01
    # A surface that is almost flat still needs levels that increase.
    levels = np.geomspace(lowest, max(min(surface.max(), table.frame["loss"].max() * 1.1), lowest * 1.001), 11)
    lines = ax.contour(d, n, surface, levels=levels, cmap=SEQUENCE.reversed(), linewidths=1.1)
    ax.clabel(lines, fmt="%.2f", fontsize=7)
    for rows, _, colour, marker in _by_size(table):
        part = table.frame.iloc[rows]
        ax.plot(part["tokens"], part["params"], marker, color=colour, markersize=4.5)
    cost = optimal.cost_of(table)
    budgets = np.linspace(table.log("flops").min() - 1, table.log("flops").max() + 3, 40)
    optima = [optimal.optimum(law.theta[None], budget, cost) for budget in budgets]
    ax.plot(
        [np.exp(item.log_tokens[0]) for item in optima], [np.exp(item.log_params[0]) for item in optima], "--", color=VERMILION,
        linewidth=1.6, label="compute-efficient frontier",
    )  # fmt: skip
    if len(table.held_out):
        ax.plot(
            table.held_out["tokens"],
            table.held_out["params"],
            "*",
            color=ORANGE,
            markersize=12,
            linestyle="none",
            label="held out",
        )
    ax.set(xscale="log", yscale="log", xlim=(d[0], d[-1]), ylim=(n[0], n[-1]), xlabel="tokens")
    ax.set_ylabel(f"parameters ({table.conventions.parameters})")
    count_ticks(ax.xaxis)
    count_ticks(ax.yaxis)
    grid(ax)
    ax.legend(fontsize="small", frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return ax


def loss_against_compute(
    law: Result, table: RunsTable, ax: Axes, envelope: Result | None = None, checks: tuple[Check, ...] = ()
) -> Axes:
    """Loss of every run over its compute, the fitted frontier with its band, approach 1's envelope, and held-out runs."""
    for rows, label, colour, marker in _by_size(table):
        part = table.frame.iloc[rows].sort_values("flops")
        mean = part.groupby("tokens", as_index=False)[["flops", "loss"]].mean()
        ax.plot(mean["flops"], mean["loss"], color=colour, linewidth=0.9, alpha=0.8)
        ax.plot(part["flops"], part["loss"], marker, color=colour, markersize=4.5, label=label)
    cost = optimal.cost_of(table)
    top = max([table.log("flops").max(), *[np.log(check.forecast.flops) for check in checks]])
    budgets = np.linspace(table.log("flops").min(), top + 1, 60)
    theta = np.concatenate([law.theta[None], law.replicates])
    losses = np.stack([np.exp(optimal.optimum(theta, budget, cost).log_loss) for budget in budgets])
    ax.plot(np.exp(budgets), losses[:, 0], "--", color=VERMILION, linewidth=1.6, label="frontier, approach 3")
    if len(law.replicates) > 20:
        tail = 50 * (1 - law.level)
        ax.fill_between(
            np.exp(budgets),
            *np.percentile(losses[:, 1:], [tail, 100 - tail], axis=1),
            color=VERMILION,
            alpha=0.18,
            linewidth=0,
        )
    if envelope is not None:
        points: frontier.Points = envelope.details["points"]
        ax.plot(
            np.exp(points.log_flops),
            np.exp(points.log_loss[0]),
            color=BLUE,
            linewidth=2.2,
            alpha=0.75,
            label="envelope, approach 1",
        )
    _held_out(ax, checks)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"training FLOPs ({table.conventions.flops})",
        ylabel=f"loss ({table.loss_unit})",
    )
    if checks:
        _held_out_inset(ax, checks)
    _plain_log_ticks(ax)
    grid(ax)
    _legend(ax)
    return ax


def _held_out(ax: Axes, checks: tuple[Check, ...]) -> None:
    for index, check in enumerate(checks):
        made, (low, high) = check.forecast, check.forecast.interval
        ax.errorbar(
            [made.flops], [made.value], yerr=[[made.value - low], [high - made.value]], fmt="_", color=ORANGE, capsize=5, linewidth=2,
            markersize=9, label=None if index else f"predicted, {100 * made.level:.0f}% interval", zorder=4,
        )  # fmt: skip
        ax.plot(
            [made.flops], [check.measured], "D", color=PURPLE, markersize=5, linestyle="none", zorder=5,
            label=None if index else "measured, held out",
        )  # fmt: skip


def _held_out_inset(ax: Axes, checks: tuple[Check, ...]) -> None:
    """The interval of a good forecast is hardly higher than a line on the full axis, so it is drawn once more, enlarged."""
    inset = ax.inset_axes((0.06, 0.08, 0.27, 0.34))
    _held_out(inset, checks)
    bounds = [bound for check in checks for bound in (*check.forecast.interval, check.measured)]
    margin = 0.35 * (max(bounds) - min(bounds))
    flops = [check.forecast.flops for check in checks]
    inset.set(
        xscale="log", xlim=(min(flops) / 1.6, max(flops) * 1.6), ylim=(min(bounds) - margin, max(bounds) + margin)
    )
    inset.set_title("held out, enlarged", fontsize=8)
    inset.tick_params(labelsize=7)
    inset.set_xticks([])
    inset.set_xticks([], minor=True)
    inset.patch.set_alpha(0)


def residuals(law: Result, table: RunsTable, ax: Axes) -> Axes:
    """Measured over fitted loss, in percent, against compute."""
    residual = 100 * np.expm1(table.log("loss") - law.log_loss(table.frame["params"], table.frame["tokens"]))
    for rows, label, colour, marker in _by_size(table):
        ax.plot(table.frame["flops"].iloc[rows], residual[rows], marker, color=colour, markersize=5, label=label)
    ax.axhline(0, color=GREY, linewidth=1)
    ax.set(xscale="log", xlabel=f"training FLOPs ({table.conventions.flops})", ylabel="measured over fitted, %")
    grid(ax)
    _legend(ax)
    return ax


def exponents(approaches: list[Approach], ax: Axes) -> Axes:
    """The exponent of N_opt ∝ C^a by each approach, with its interval."""
    # The first at the top, as in the table beside it.
    for row, item in enumerate(approach.exponents.a for approach in reversed(approaches)):
        if item.interval is not None:
            ax.plot(item.interval, [row, row], color=BLUE, linewidth=2.5)
        ax.plot([item.value], [row], "o", color=VERMILION, markersize=7)
    ax.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    ax.set(yticks=range(len(approaches)), ylim=(-0.6, len(approaches) - 0.4), xlabel="exponent a of N_opt ∝ C^a")
    ax.set_yticklabels([approach.title for approach in reversed(approaches)])
    grid(ax)
    return ax


def training_curves(table: RunsTable, ax: Axes) -> Axes | None:
    """Training loss over tokens, trunks included, where attempts/*/metrics.jsonl exist; None when there is none."""
    drawn = False
    for rows, label, colour, _ in _by_size(table):
        for directory in _trained_directories(table, rows):
            tokens, loss = _smoothed(*_metrics(directory))
            if len(tokens) < 2:
                continue
            ax.plot(tokens, loss, color=colour, linewidth=1.0, alpha=0.8, label=label)
            drawn, label = True, None
    if not drawn:
        return None
    ax.set(xscale="log", yscale="log", xlabel="tokens", ylabel="training loss (nats per token)")
    count_ticks(ax.xaxis)
    _plain_log_ticks(ax)
    grid(ax)
    _legend(ax)
    return ax


def _trained_directories(table: RunsTable, rows: npt.NDArray[np.int64]) -> list[str]:
    """The directories of runs, each trunk (which names its branches' cluster) once and before them."""
    found = {}
    for path, cluster in table.frame[["path", "cluster"]].iloc[rows].itertuples(index=False):
        if path:
            found |= {str(epath.Path(path).with_name(cluster)): None, path: None}
    return list(found)


def _metrics(directory: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Tokens and training loss of a run's attempts."""
    points = []
    for path in sorted((epath.Path(directory) / "attempts").glob("*/metrics.jsonl")):
        for line in path.read_text().splitlines():
            try:
                point = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of an attempt that was killed while it wrote
            if "loss" in point and point["tokens"] > 0:
                points.append((point["tokens"], point["loss"]))
    tokens, loss = np.array(points, np.float64).reshape(-1, 2).T
    return tokens, loss


def _smoothed(
    tokens: npt.NDArray[np.float64], loss: npt.NDArray[np.float64], bins_per_doubling: int = 6
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means over equal steps of log tokens: batches of a few sequences are noisy, and thousands of points hide each other."""
    if not len(tokens):
        return tokens, loss
    bins = np.unique(np.floor(np.log2(tokens) * bins_per_doubling), return_inverse=True)[1]
    count = np.bincount(bins)
    return np.bincount(bins, tokens) / count, np.bincount(bins, loss) / count


def count_ticks(axis: Axis) -> None:
    """Labels a logarithmic axis of parameters or tokens by 20k, 50k, 100k; powers of ten alone where there are many."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 2000 * low else (1,), numticks=30))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def _plain_log_ticks(ax: Axes) -> None:
    """Losses span less than a decade, where a logarithmic axis has no ticks of its own."""
    low, high = ax.get_ylim()
    ticks = np.array([1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12])
    ticks = ticks[(ticks >= low) & (ticks <= high)]
    if len(ticks) >= 2:
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_yticks([], minor=True)
