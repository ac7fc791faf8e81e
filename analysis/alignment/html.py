"""The report of a study of alignment: one self-contained page in the style of the scaling laws' report."""

from collections.abc import Sequence
from html import escape

from align.statistics import multiplicity
from analysis.alignment import proxies, raised_alarms
from analysis.alignment.figures import panel_name
from analysis.alignment.judging import shown
from analysis.alignment.proxies import AXES, ProxyLaw
from analysis.alignment.proxy_trends import Trend
from analysis.alignment.study import AlignmentStudy, MethodLaw, Panel, SizeLaw
from analysis.alignment.terminal import TRENDS, proxy_law
from analysis.laws.result import NotFitted
from analysis.report.figures import Drawn
from analysis.report.formatting import interval, number, short
from analysis.report.html import Provenance, page, provenance_list
from analysis.report.markup import cell, flag_list, paragraph, table
from analysis.report.markup import figures as figure_list


def render(study: AlignmentStudy, figures: Sequence[Drawn], provenance: Provenance, title: str) -> str:
    """The whole page."""
    drawn = {figure.name: figure for figure in figures}
    several = len(study.panels) > 1
    sections = []
    for index, panel in enumerate(study.panels):
        suffix, head = (f"-{index}", f": {panel_name(panel)}") if several else ("", "")
        sections += [
            (f"frontier{suffix}", f"Frontier{head}", _frontier(panel) + figure_list(drawn, f"frontier{suffix}")),
            (
                f"methods{suffix}",
                f"Methods compared{head}",
                figure_list(drawn, f"differences{suffix}") + _comparisons(panel, study.multiplicity),
            ),
            (
                f"laws{suffix}",
                f"Over-optimisation{head}",
                figure_list(drawn, f"laws{suffix}") + "".join(_law(item) for item in panel.laws),
            ),
        ]
    if study.sizes:
        sections.append(("size", "Gain against size", figure_list(drawn, "gain_by_size") + _sizes(study.sizes)))
    if study.proxies:
        sections.append(("proxies", "Proxies", _proxies(study, drawn)))
    if study.win_rates:
        sections.append(("win_rates", "Win rates", _win_rates(study)))
    if study.judged:
        sections.append(("judged", "Win rates by judges", shown.section(study.judged, study.options.level)))
    sections.append(("alarms", "Alarms", _alarms(study)))
    sections += [("runs", "Runs", _runs(study)), ("provenance", "Provenance", provenance_list(provenance))]
    return page(title, _summary(study), sections)


def _summary(study: AlignmentStudy) -> str:
    frame = study.measurements.frame
    exact = float((frame["kl_from"] == "exact").mean())
    text = (
        f"{len(frame)} measured policies of {study.measurements.runs} runs: {frame['method'].nunique()} methods, {frame['seed'].nunique()} seeds, "
        f"{frame['params'].nunique()} sizes, {frame['gold_name'].nunique()} gold rewards. KL is in nats per sequence, "
        f"{'exact' if exact == 1 else 'from samples' if exact == 0 else f'exact for {100 * exact:.0f}% of the policies and from samples otherwise'}; "
        "distances are √KL; rewards are measured from that of the initial policy."
    )
    verdict = tuple(f"not to be trusted: {item}" for item in study.objections)
    return paragraph(text) + flag_list((*verdict, *study.measurements.flags))


def _frontier(panel: Panel) -> str:
    if not panel.frontiers:
        return paragraph("No policy has left the initial one.")
    rows = [
        [
            item.method, str(max(curve.seeds for curve in item.curves)), "–" if item.area is None else cell(item.area),
            number(item.pareto["gain"].iloc[-1], 3), number(item.pareto["kl"].iloc[-1], 3), item.pareto["setting"].iloc[-1] or "–",
        ]
        for item in panel.frontiers
    ]  # fmt: skip
    caption = (
        f"Mean gain: over √KL from 0 to that of KL = {number(panel.frontiers[0].reach ** 2, 3)} nats, which all methods reach, with the setting that "
        "is best on the other seeds at each distance (the area under the frontier over its length). Best: the measured policy with the highest gold "
        "reward, a mean over seeds."
    )
    flags = tuple(f"{item.method}: {flag}" for item in panel.frontiers for flag in item.flags)
    return table(
        ["method", "seeds", "mean gain", "best gain", "at KL", "setting"], rows, range(1, 5), caption
    ) + flag_list(flags)


def _comparisons(panel: Panel, adjustment: str) -> str:
    if not panel.comparisons:
        return paragraph("There is no pair of methods with a KL in common.")
    rows = [
        [
            f"{pair.first} −\n{pair.second}", cell(pair.mean), "–".join(number(value, 2) for value in pair.kl_range),
            number(pair.adjusted_mean, 2), number(pair.adjusted_dominance, 2), pair.verdict, f"{pair.seeds} {pair.errors}" if pair.seeds else
            "prompts, one seed",
        ]
        for pair in panel.comparisons
    ]  # fmt: skip
    caption = (
        f"Differences in gold reward at equal KL. p mean: two-sided, of no mean difference over the KL in common. p all: of no dominance, the largest "
        f"of the pointwise one-sided p-values. {adjustment}, for either column. Verdicts at 5%."
    )
    return table(
        ["methods", "difference", "KL in common", "p mean", "p all", "verdict", "errors from"],
        rows,
        (1, 2, 3, 4),
        caption,
    )


def _law(item: MethodLaw) -> str:
    head = f"<h3>{escape(item.method)}</h3><p><code>{escape(item.law.form)}</code></p>"
    foot = f'{flag_list(item.law.flags)}<p class="soft">{escape(item.law.source)}</p>'
    if isinstance(item.law, NotFitted):
        return f"<article>{head}{foot}</article>"
    rows = [
        [name.replace("_", " "), number(value.value), interval(value), value.method]
        for name, value in {**item.law.parameters, **item.law.derived}.items()
    ]
    shown = table(["", "value", f"{100 * item.law.level:.0f}% interval", "how"], rows, (1, 2))
    check = "" if item.check is None else paragraph(f"Held-out part: {item.check.in_words()}.")
    return f"<article>{head}{shown}{check}{foot}</article>"


def _sizes(sizes: Sequence[SizeLaw]) -> str:
    rows = [
        [
            item.method, number(item.kl, 3), law.form + (" (closer)" if law is item.laws[0] and len(item.laws) > 1 else ""),
            f"{number(law.gain.value, 3)}\n{interval(law.gain, 3)}", cell(law.slope), number(law.error, 2), number(law.rising_p, 2),
        ]
        for item in sizes
        for law in item.laws
    ]  # fmt: skip
    flags = tuple(sorted({f"{item.method}: {flag}" for item in sizes for law in item.laws for flag in law.flags}))
    reference = ", ".join(sorted({short(law.reference_size) for item in sizes for law in item.laws}))
    caption = f"gain_0 at N_0 = {reference} parameters; the slope is the exponent of the power law, or the change of the gain for a factor e of size."
    return table(
        ["method", "KL", "form", "gain_0", "slope", "error", "p of no change"], rows, (1, 3, 4, 5, 6), caption
    ) + flag_list(flags)


def _proxies(study: AlignmentStudy, drawn: dict[str, Drawn]) -> str:
    rows = [
        [
            item.method, short(item.params) if item.params == item.params else "–", *(_axis(item.axes[axis]) for axis in AXES), number(item.accuracy, 3),
            str(item.runs), f"{number(item.best_gain, 3)}\n{number(item.best_kl, 2)}", f"{number(item.final_gain, 3)}\n{number(item.final_kl, 2)}",
            number(item.final_proxy_gain, 3), *_with_breaks(proxy_law(item)), _missed(item),
        ]
        for item in study.proxies
    ]  # fmt: skip
    caption = (
        "One policy against several proxies. Accuracy: on held-out comparisons, as the gold reward orders them. Best: the measured policy with the highest "
        "gold reward; last: the one that went furthest, with what its proxy promised; the KL in nats below either. alpha, beta and the KL of the peak: of the "
        "law of each proxy. Held out: how far, on average, the gold reward lies above what the law of the near half of the points foretold of the others."
    )
    head = [
        "method", "N", "proxy's N", "pairs", "label noise", "members", "accuracy", "runs", "best gain", "last gain", "proxy's", "alpha", "beta",
        "KL of the peak", "held out",
    ]  # fmt: skip
    return (
        figure_list(drawn, "proxy_curves")
        + paragraph(proxies.in_words(study.proxies))
        + table(head, rows, range(1, 15), caption)
        + figure_list(drawn, "proxy_coefficients")
        + _trends(study.proxy_trends)
    )


def _with_breaks(texts: Sequence[str]) -> list[str]:
    """A value above its interval; three cells even where one says why there is no law."""
    return [*(text.replace(" [", "\n[") for text in texts), *[""] * (3 - len(texts))]


def _missed(item: ProxyLaw) -> str:
    return "–" if item.check is None else number(item.check.bias, 2)


def _trends(found: Sequence[Trend]) -> str:
    rows = [
        [
            trend.method, trend.quantity.replace("_", " "), trend.axis.removeprefix("proxy_").replace("_", " "), str(trend.proxies), str(trend.strata),
            number(trend.correlation, 2), f"{number(trend.slope, 2)} per {trend.per}", number(trend.p_value, 2), number(trend.adjusted, 2), trend.verdict,
        ]
        for trend in found
    ]  # fmt: skip
    head = ["method", "of", "against", "proxies", "strata", "tau", "slope", "p", "Holm", "at 5%"]
    return table(head, rows, (3, 4, 5, 6, 7, 8), TRENDS) if rows else paragraph("No axis took three values.")


def _axis(value: float) -> str:
    return number(value, 2) if 0 < value < 1 else short(value)


def _win_rates(study: AlignmentStudy) -> str:
    rows = []
    for item in study.win_rates:
        low, high = item.rate.interval(study.options.level)
        controlled = item.controlled
        rows.append(
            [
                item.label,
                f"{number(item.rate.value, 3)}\n[{number(low, 2)}, {number(high, 2)}]",
                str(item.rate.ties),
                "–"
                if controlled is None
                else f"{number(controlled.value, 3)}\n[{number(controlled.interval[0], 2)}, {number(controlled.interval[1], 2)}]",
                number(item.adjusted, 2),
            ]
        )
    caption = (
        "Final policies against their references, which answered the same prompts with the same keys: a prompt is won where the mean gold score is "
        "higher, and a tie counts half. At equal length: by a logistic regression on the difference of lengths. p: of the paired permutation test, "
        f"{multiplicity.statement(len(rows))}."
    )
    return table(["run", "won", "tied", "at equal length", "p"], rows, (1, 2, 3, 4), caption)


def _alarms(study: AlignmentStudy) -> str:
    if not study.alarm_rates:
        return paragraph(f"Alarms of over-optimisation: {raised_alarms.UNABLE}.")
    rates = flag_list(tuple(rate.in_words for rate in study.alarm_rates))
    if not study.alarms:
        return rates + paragraph(
            "No run raised an alarm of over-optimisation (growth of ensemble disagreement, acceleration of KL, drift of length)."
        )
    rows = [
        [item.run_id, item.label, item.alarm.replace("_", " "), str(item.step), number(item.largest, 3), number(item.threshold, 3)]
        for item in study.alarms
    ]  # fmt: skip
    caption = (
        "The statistics are logarithms of ratios to the beginning of the run, that of length for each unit of √KL (align.statistics.alarms), from the seventh "
        "measurement on; about 2% of simulated "
        "healthy runs of 20 measurements exceed each threshold."
    )
    return rates + table(["run", "what", "alarm", "step", "largest", "threshold"], rows, (3, 4, 5), caption)


def _runs(study: AlignmentStudy) -> str:
    frame = study.measurements.frame
    rows = [
        [
            method, setting or "–", short(params) if params == params else "–", ", ".join(str(seed) for seed in sorted(runs["seed"].unique())),
            str(runs["run_id"].nunique()), str(len(runs)), number(runs["kl"].max(), 3),
        ]
        for (method, setting, params), runs in frame.groupby(["method", "setting", "params"], dropna=False)
    ]  # fmt: skip
    shown = table(["method", "setting", "N", "seeds", "runs", "policies", "largest KL"], rows, (2, 4, 5, 6))
    left_out = study.measurements.excluded
    if left_out.empty:
        return shown + paragraph("No run was left out.")
    return (
        shown
        + paragraph("Left out")
        + table(["run", "method", "reason"], left_out[["run_id", "method", "reason"]].to_numpy().tolist())
    )
