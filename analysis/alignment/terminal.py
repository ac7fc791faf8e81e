"""The terminal's view of a study of alignment."""

import textwrap
from collections.abc import Iterator

import numpy as np

from align.statistics import multiplicity
from analysis.alignment import proxies, raised_alarms
from analysis.alignment.figures import panel_name
from analysis.alignment.judging import shown
from analysis.alignment.measurements import Measurements
from analysis.alignment.proxies import AXES, ProxyLaw
from analysis.alignment.study import AlignmentStudy, MethodLaw, Panel, SizeLaw
from analysis.laws.result import NotFitted, Result
from analysis.report.formatting import interval, number, short

_WIDTH = 110
TRENDS = (
    "Only proxies that are alike in all other axes are compared (strata; accuracy: all). tau: Kendall's, within strata. slope: least squares within strata, "
    "per doubling of size, comparisons or members, per 0.1 of label noise or accuracy. p: by permutation within strata; Holm: over all trends that could "
    "have been found."
)


def describe_table(measurements: Measurements) -> Iterator[str]:
    """What was read, line by line."""
    frame = measurements.frame
    yield (
        f"{len(frame)} measured policies of {measurements.runs} runs, {frame['method'].nunique()} methods, {frame['seed'].nunique()} seeds, "
        f"{frame['params'].nunique()} sizes; KL up to {number(frame['kl'].max(), 3)} nats"
    )
    for (method, setting), runs in frame.groupby(["method", "setting"]):
        yield f"  {method} {setting}".rstrip() + f": {runs['run_id'].nunique()} runs, {len(runs)} policies"
    for reason, count in measurements.excluded["reason"].value_counts().items():
        yield f"excluded {count}: {reason}"
    for flag in measurements.flags:
        yield from _wrapped(f"note: {flag}", "  ")


def describe(study: AlignmentStudy) -> Iterator[str]:
    """The whole study, line by line."""
    yield from describe_table(study.measurements)
    for panel in study.panels:
        yield ""
        yield f"== gold reward: {panel_name(panel)}"
        yield from _frontiers(panel, study.options.level)
        yield from _comparisons(panel, study.multiplicity)
        for item in panel.laws:
            yield from _law(item, study.options.level)
    for item in study.sizes:
        yield from _size(item)
    yield from _proxies(study)
    yield from _win_rates(study)
    yield from _judged(study)
    yield from _alarms(study)
    for text in study.objections:
        yield from _wrapped(f"NOT TO BE TRUSTED: {text}", "  ")


def _frontiers(panel: Panel, level: float) -> Iterator[str]:
    if not panel.frontiers:
        yield "no policy has left the initial one"
        return
    reach = number(panel.frontiers[0].reach ** 2, 3)
    yield f"{'method':28}{'mean gain':>10}  {f'{100 * level:.0f}% interval':22}{'best gain':>10}{'at KL':>9}   (mean gain over √KL up to KL = {reach})"
    for item in panel.frontiers:
        best = item.pareto.iloc[-1]
        mean = "–" if item.area is None else number(item.area.value, 3)
        ends = "–" if item.area is None else interval(item.area, 3)
        yield f"{item.method:28}{mean:>10}  {ends:22}{number(best['gain'], 3):>10}{number(best['kl'], 3):>9}"
        for flag in item.flags:
            yield from _wrapped(f"  ! {flag}", "    ")


def _comparisons(panel: Panel, adjustment: str) -> Iterator[str]:
    if not panel.comparisons:
        return
    yield ""
    yield f"{'pair':42}{'difference':>11}  {'interval':18}{'KL in common':16}{'p mean':>8}{'p all':>8}  verdict at 5%"
    for pair in panel.comparisons:
        kl = "–".join(number(value, 2) for value in pair.kl_range)
        yield (
            f"{pair.first + ' − ' + pair.second:42}{number(pair.mean.value, 3):>11}  {interval(pair.mean, 2):18}{kl:16}"
            f"{number(pair.adjusted_mean, 2):>8}{number(pair.adjusted_dominance, 2):>8}  {pair.verdict} ({_errors(pair)})"
        )
    yield from _wrapped(
        f"p mean: of no mean difference; p all: of no dominance at every KL; {adjustment}",
        "  ",
    )


def _errors(pair) -> str:  # noqa: ANN001 - a Comparison
    return f"{pair.seeds} {pair.errors}" if pair.seeds else "errors over prompts, one seed"


def _law(item: MethodLaw, level: float) -> Iterator[str]:
    yield ""
    if isinstance(item.law, NotFitted):
        yield f"{item.method}: {item.law.flags[0]}"
        return
    yield f"{item.method}: {item.law.form}"
    for name, value in {**item.law.parameters, **item.law.derived}.items():
        yield f"  {name:16}{number(value.value):>10}  {100 * level:.0f}% {interval(value)}"
    if item.check is not None:
        yield from _wrapped(f"  held out: {item.check.in_words()}", "    ")
    for flag in item.law.flags:
        yield from _wrapped(f"  ! {flag}", "    ")


def _size(item: SizeLaw) -> Iterator[str]:
    yield ""
    yield f"{item.method}: gain on {item.gold_name} at KL = {number(item.kl, 3)} nats against size"
    for law in item.laws:
        yield (
            f"  {law.form:12} at N = {short(law.reference_size)}: {number(law.gain.value, 3)} {interval(law.gain, 3)}; slope {number(law.slope.value, 3)} "
            f"{interval(law.slope, 3)}; error {number(law.error, 2)}; p of no change {number(law.rising_p, 2)}"
        )
        for flag in law.flags:
            yield from _wrapped(f"  ! {flag}", "    ")


def _proxies(study: AlignmentStudy) -> Iterator[str]:
    if not study.proxies:
        return
    yield ""
    yield (
        f"{'method':12}{'proxy':>7}{'pairs':>7}{'noise':>7}{'members':>8}{'accuracy':>9}{'runs':>5}{'best gain':>11}{'at KL':>7}{'last gain':>11}"
        f"{'at KL':>7}{'proxy':>7}  {'alpha':24}{'beta':24}{'KL of the peak':22}"
    )
    for item in study.proxies:
        size, pairs, noise, members = (item.axes[axis] for axis in AXES)
        yield (
            f"{item.method:12}{short(size):>7}{short(pairs):>7}{number(noise, 2):>7}{short(members):>8}{number(item.accuracy, 2):>9}{item.runs:>5}"
            f"{number(item.best_gain, 3):>11}{number(item.best_kl, 2):>7}{number(item.final_gain, 3):>11}{number(item.final_kl, 2):>7}"
            f"{number(item.final_proxy_gain, 2):>7}  {''.join(f'{text:24}' for text in proxy_law(item))}"
        )
    yield from _wrapped(proxies.in_words(study.proxies), "  ")
    yield ""
    yield f"{'trend over proxies':58}{'proxies':>8}{'strata':>7}{'tau':>7}{'slope':>9}{'p':>8}{'Holm':>8}  verdict at 5%"
    for trend in study.proxy_trends:
        name = f"{trend.method}: {trend.quantity.replace('_', ' ')} against {trend.axis.replace('_', ' ')}"
        yield (
            f"{name:58}{trend.proxies:>8}{trend.strata:>7}{number(trend.correlation, 2):>7}{number(trend.slope, 2):>9}{number(trend.p_value, 2):>8}"
            f"{number(trend.adjusted, 2):>8}  {trend.verdict}"
        )
    yield from _wrapped(TRENDS, "  ")


def proxy_law(item: ProxyLaw) -> tuple[str, ...]:
    """alpha, beta and the KL of the peak with their intervals, or why there are none."""
    if isinstance(item.law, NotFitted):
        return (item.law.flags[0],)
    coefficients = (item.law.parameters[name] for name in ("alpha", "beta"))
    return (*(f"{number(value.value, 3)} {interval(value, 2)}" for value in coefficients), peak_kl(item.law))


def peak_kl(law: Result) -> str:
    """Where the fitted reward turns, in nats with its interval."""
    peak = law.derived["peak_distance"]
    if not np.isfinite(peak.value):
        return "never turns"
    if peak.value <= 0:
        return "falls from the start"
    low, high = (number(end**2, 2) if np.isfinite(end) else "∞" for end in peak.interval)
    return f"{number(peak.value**2, 2)} [{low}, {high}]"


def _win_rates(study: AlignmentStudy) -> Iterator[str]:
    if not study.win_rates:
        return
    yield ""
    yield f"{'final policy against its reference':56}{'won':>7}  {'interval':16}{'tied':>6}{'at equal length':>17}{'p':>10}"
    for item in study.win_rates:
        low, high = item.rate.interval(study.options.level)
        controlled = "–" if item.controlled is None else number(item.controlled.value, 3)
        yield (
            f"{item.label[:55]:56}{number(item.rate.value, 3):>7}  {f'[{number(low, 2)}, {number(high, 2)}]':16}{item.rate.ties:>6}{controlled:>17}"
            f"{number(item.adjusted, 2):>10}"
        )
    yield from _wrapped(
        f"by prompt, on the gold score; p of the permutation test, {multiplicity.statement(len(study.win_rates))}", "  "
    )


def _judged(study: AlignmentStudy) -> Iterator[str]:
    if not study.judged:
        return
    yield ""
    yield from shown.lines(study.judged, study.options.level)
    yield from _wrapped(f"  {shown.explanation(len(study.judged))}", "  ")
    for flag in shown.flags(study.judged):
        yield from _wrapped(f"  ! {flag}", "    ")


def _alarms(study: AlignmentStudy) -> Iterator[str]:
    yield ""
    found = len(study.alarms) or "none" if study.alarm_rates else raised_alarms.UNABLE
    yield f"alarms of over-optimisation: {found}"
    for item in study.alarms:
        yield (
            f"  {item.run_id} ({item.label}): {item.alarm.replace('_', ' ')} at step {item.step} "
            f"(up to {number(item.largest, 3)}, threshold {number(item.threshold, 3)})"
        )
    for rate in study.alarm_rates:
        yield from _wrapped(f"  {rate.in_words}", "    ")


def _wrapped(text: str, indent: str) -> Iterator[str]:
    lead = text[: len(text) - len(text.lstrip())]
    yield from textwrap.wrap(text.strip(), _WIDTH, initial_indent=lead, subsequent_indent=indent) or [""]
