"""The terminal's view of a study: laws, compute-optimal budgets, the held-out check, what was left out."""

import textwrap
from collections.abc import Iterator

from analysis.laws.result import Result
from analysis.laws.study import Study
from analysis.laws.tables.table import RunsTable
from analysis.report.formatting import interval, number, short, short_interval

_WIDTH = 110


def describe_table(table: RunsTable) -> Iterator[str]:
    """What the runs table holds, line by line."""
    frame = table.frame
    yield (
        f"{len(frame)} runs of {len(set(table.codes('params').tolist()))} sizes from {frame['cluster'].nunique()} independent "
        f"trajectories; parameters ({table.conventions.parameters}) {number(frame['params'].min(), 3)} to "
        f"{number(frame['params'].max(), 3)}, tokens {number(frame['tokens'].min(), 3)} to {number(frame['tokens'].max(), 3)}, "
        f"FLOPs ({table.conventions.flops}) {number(frame['flops'].min(), 3)} to {number(frame['flops'].max(), 3)}, loss on "
        f"{table.conventions.domain} {number(frame['loss'].min())} to {number(frame['loss'].max())}"
    )
    for reason, count in table.excluded["reason"].value_counts().items():
        yield f"excluded {count}: {reason}"
    if len(table.held_out):
        yield f"held out {len(table.held_out)}: {', '.join(table.held_out['name'])}"
    if len(table.trunks):
        yield f"{len(table.trunks)} trunks, which branches left, enter no fit: their learning rate has not decayed"
    for flag in table.flags:
        yield f"note: {flag}"


def describe(study: Study) -> Iterator[str]:
    """The whole study, line by line."""
    yield from describe_table(study.table)
    yield ""
    yield f"{'law':24}{'parameter':18}{'value':>12}  {100 * study.options.level:.0f}% interval"
    for name, law in study.laws.items():
        if not isinstance(law, Result):
            yield from _wrapped(f"{name:24}{law.flags[0]}", " " * 24)
            continue
        head = name
        for key, item in {**law.parameters, **law.derived}.items():
            yield f"{head:24}{key:18}{number(item.value):>12}  {interval(item)}"
            head = ""
        for flag in law.flags:
            yield from _wrapped(f"{'':24}! {flag}", " " * 26)
    yield ""
    if study.parametric.certificate is not None:
        verdict = "trusted" if study.trusted else "NOT TO BE TRUSTED"
        yield from _wrapped(
            f"certificate of {study.parametric.name}: {verdict}; {study.parametric.certificate.in_words()}", "  "
        )
        yield ""
    yield f"compute-optimal by {study.parametric.form}:"
    yield f"{'FLOPs':>12}{'N':>12}  {'interval':26}{'D':>12}  {'interval':26}{'loss':>8}  interval"
    for item in study.compute_optimal:
        yield (
            f"{number(item.flops, 3):>12}{short(item.params.value):>12}  {short_interval(item.params):26}"
            f"{short(item.tokens.value):>12}  {short_interval(item.tokens):26}{number(item.loss.value):>8}  {interval(item.loss)}"
        )
    yield ""
    yield from _inference_aware(study)
    yield from _approaches(study)
    yield ""
    yield from _rollouts(study)
    yield ""
    if not study.checks:
        yield "no run was held out, so no prediction was checked (tag one role=held_out, or name it by --held_out)"
    for check in study.checks:
        yield from _wrapped(f"held out {check.in_words()}", "  ")
        for flag in check.forecast.flags:
            yield from _wrapped(f"  ! {flag}", "    ")
    for truth in study.truths:
        yield from _wrapped(f"known truth: {truth.in_words()}", "  ")
    yield ""
    yield from _wrapped(study.cost.in_words(study.table.conventions.flops), "  ")


def _rollouts(study: Study) -> Iterator[str]:
    """How every form did on the runs that came after those it was fitted to."""
    if not study.rollouts:
        yield "too few runs for rollouts (fits to the cheapest runs that predict the dearer ones)"
        return
    yield "rollouts (fitted to the cheapest runs, predicting the dearer ones; forecasts weigh the forms so, special cases not at all):"
    yield f"{'form':24}{'weight':>7}{'x C fitted':>12}{'runs':>6}{'error':>8}{'bias':>9}{'coverage':>10}{'width':>8}{'score':>8}"
    for score in study.rollouts:
        yield (
            f"{score.form:24}{score.weight:>7.2f}{score.where:>12}{score.predictions:>6}{score.error_percent:>7.2f}%"
            f"{score.bias_percent:>+8.2f}%{100 * score.coverage:>9.0f}%{score.width_percent:>7.2f}%{score.interval_score:>7.2f}%"
        )


def _inference_aware(study: Study) -> Iterator[str]:
    """What to train instead where the model will serve tokens; nothing where nothing was said of them."""
    if not study.inference_aware:
        return
    served = study.inference_aware[0].inference_tokens
    yield f"the same losses at the least compute over a life of {number(served, 3)} tokens served (6·N·D + 2·N·served):"
    yield f"{'budget':>12}{'loss':>8}{'N':>12}  {'interval':26}{'D':>12}  {'interval':26}saved"
    for item in study.inference_aware:
        yield (
            f"{number(item.flops, 3):>12}{number(item.loss.value):>8}{short(item.params.value):>12}  {short_interval(item.params):26}"
            f"{short(item.tokens.value):>12}  {short_interval(item.tokens):26}{100 * item.saved.value:.1f}%"
        )
    yield ""


def _approaches(study: Study) -> Iterator[str]:
    """Chinchilla's three, their exponents and N_opt at the same budgets."""
    yield "Chinchilla's approaches:"
    yield f"{'approach':28}{'a':>8}  {'interval':20}{'b':>8}  {'interval':20}read over FLOPs"
    for item in study.approaches:
        a, b = item.exponents.a, item.exponents.b
        yield (
            f"{item.title:28}{number(a.value, 3):>8}  {interval(a, 3):20}{number(b.value, 3):>8}  {interval(b, 3):20}"
            f"{number(item.exponents.low_flops, 3)} to {number(item.exponents.high_flops, 3)}"
        )
    main = [item for item in study.approaches if item.is_main]
    yield f"{'N_opt at FLOPs':>16}" + "".join(f"  {'approach ' + item.title[0]:30}" for item in main).rstrip()
    for index, best in enumerate(study.compute_optimal):
        optima = (f"{short(item.params[index].value)} {short_interval(item.params[index])}" for item in main)
        yield f"{number(best.flops, 3):>16}" + "".join(f"  {text:30}" for text in optima).rstrip()


def _wrapped(text: str, indent: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, subsequent_indent=indent, drop_whitespace=True) or [""]
