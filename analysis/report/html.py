"""One self-contained report.html: no script, no request, figures as inline SVG, legible on light and dark pages."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd

from analysis.laws.result import Estimate, NotFitted, Result
from analysis.laws.study import Study
from analysis.report.figures import Drawn
from analysis.report.formatting import interval, number, percent

_STYLE = (pathlib.Path(__file__).parent / "report.css").read_text()
_OTHER_CONVENTIONS_NOTE = (
    "The same runs counted otherwise. a is the exponent of N_opt for a budget of the named FLOPs, around the middle of the data. "
    "Embeddings weigh most in the smallest models, so the exponents of N move with the convention; the held-out column says which one "
    "extrapolates."
)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a report comes from: label and text, in order."""

    entries: tuple[tuple[str, str], ...]


def render(study: Study, figures: Sequence[Drawn], provenance: Provenance, title: str = "Scaling laws") -> str:
    """The whole page."""
    drawn = {figure.name: figure for figure in figures}
    sections = [
        ("held-out", "Held-out check", _checks(study)),
        ("frontier", "Loss against compute", _figures(drawn, "loss_against_compute", "exponents")),
        ("optimal", "Compute-optimal models", _compute_optimal(study)),
        (
            "laws",
            "Laws",
            _law_summary(study)
            + _figures(drawn, "loss_contours", "isoflop")
            + "".join(_law(law) for law in study.laws.values()),
        ),
        ("residuals", "Residuals and noise", _figures(drawn, "residuals") + _noise(study)),
        ("conventions", "Under other conventions", _other_conventions(study)),
        ("runs", "Runs", _figures(drawn, "training_curves") + _runs(study)),
        ("provenance", "Provenance", _provenance(provenance)),
    ]
    navigation = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(name)}</h2>{content}</section>' for anchor, name, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{_summary(study)}<nav>{navigation}</nav>{body}</body></html>\n"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), caption: str = "") -> str:
    """A table of escaped cells; `numeric` columns are right-aligned."""
    numeric = set(numeric)

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="n"' if index in numeric else "" for index in range(len(cells)))
        return (
            "<tr>"
            + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
            + "</tr>"
        )

    note = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "".join(line(cells, "td") for cells in rows)
    return f'<div class="scroll"><table>{note}<thead>{line(header, "th")}</thead><tbody>{body}</tbody></table></div>'


def _figures(drawn: dict[str, Drawn], *names: str) -> str:
    return "".join(
        f'<figure role="img" aria-label="{escape(drawn[name].title)}">{drawn[name].inline}'
        f"<figcaption>{escape(drawn[name].caption)}</figcaption></figure>"
        for name in names
        if name in drawn
    )


def _flags(flags: Sequence[str]) -> str:
    return "<ul>" + "".join(f'<li class="flag">{escape(flag)}</li>' for flag in flags) + "</ul>" if flags else ""


def _summary(study: Study) -> str:
    frame, law = study.table.frame, study.parametric
    values = {**law.parameters, **law.derived}
    text = (
        f"{len(frame)} runs of {len(set(study.table.codes('params').tolist()))} sizes, {number(frame['params'].min(), 3)} to "
        f"{number(frame['params'].max(), 3)} parameters ({study.table.conventions.parameters}), "
        f"{number(frame['flops'].min(), 3)} to {number(frame['flops'].max(), 3)} FLOPs ({study.table.conventions.flops}), loss on "
        f"{study.table.conventions.domain} in nats per token. By the parametric law N_opt grows as C^{number(values['a'].value, 3)} "
        f"{interval(values['a'], 3)}."
    )
    return f"<p>{escape(text)}</p>{_flags(study.table.flags)}"


def _checks(study: Study) -> str:
    if not study.checks:
        return "<p>No run was held out, so no prediction was checked: the laws describe the runs they were fitted to, and nothing more.</p>"
    parts = []
    for check in study.checks:
        kind = "inside" if check.inside else "outside"
        made = check.forecast
        causes = ", ".join(f"{name} {percent(value)}" for name, value in made.parts.items())
        verdict = (
            f"<p>Run <code>{escape(check.run_id)}</code>: predicted <b>{made.value:.4f}</b> nats per token, "
            f"{100 * made.level:.0f}% interval [{made.interval[0]:.4f}, {made.interval[1]:.4f}]; measured <b>{check.measured:.4f}</b>, "
            f'<strong class="{kind}">{kind} the interval</strong>. The measured loss is {check.error_percent:+.2f}% off the prediction, '
            f"{check.sigma:+.2f} standard deviations.</p>"
        )
        detail = (
            f"{number(made.params, 3)} parameters, {number(made.tokens, 3)} tokens, {number(made.flops, 3)} FLOPs: "
            f"{number(made.reach['flops'], 3)} times the largest compute in the fit. Standard deviation of the forecast by cause: {causes}."
        )
        parts.append(
            f'<div class="verdict {kind}">{verdict}<p class="soft">{escape(detail)}</p>{_flags(made.flags)}</div>'
        )
    return "".join(parts)


def _compute_optimal(study: Study) -> str:
    def cell(item: Estimate, digits: int = 3) -> str:
        return f"{number(item.value, digits)}\n{interval(item, digits)}"

    rows = [
        [number(item.flops, 3), number(item.beyond, 2), cell(item.params), cell(item.tokens), cell(item.loss, 4)]
        for item in study.compute_optimal
    ]
    header = ["FLOPs", "× fitted", "N", "D", "loss"]
    caption = (
        f"From {study.parametric.form}. Intervals at {100 * study.options.level:.0f}% hold the uncertainty of the parameters alone; the "
        "second column is the budget over the largest compute in the fit."
    )
    return _table(header, rows, range(5), caption)


def _law_summary(study: Study) -> str:
    rows = []
    for name, law in study.laws.items():
        if isinstance(law, NotFitted):
            rows.append([name, "–", "–", law.reason])
            continue
        numbers = {**law.parameters, **law.derived}
        shown = "\n".join(
            f"{key} {number(item.value, 3)} {interval(item, 3)}"
            for key, item in numbers.items()
            if key in ("a", "E") or key.startswith(("alpha", "beta"))
        )
        sure = law.certificate.identifiability if law.certificate else "–"
        rows.append([name, shown, sure, str(len(law.flags))])
    return _table(
        ["law", f"exponents and floor, {100 * study.options.level:.0f}% intervals", "identifiable", "flags"], rows, (1,)
    )


def _law(law: Result | NotFitted) -> str:
    head = f"<h3>{escape(law.name)}</h3><p><code>{escape(law.form)}</code></p>"
    foot = f'{_flags(law.flags)}<p class="soft">{escape(law.source)}</p>'
    if isinstance(law, NotFitted):
        return f"<article>{head}{foot}</article>"
    numbers = {**law.parameters, **law.derived}
    rows = [[name, number(item.value, 5), interval(item)] for name, item in numbers.items()]
    methods = {item.method for item in law.parameters.values()}
    words = f"{100 * law.level:.0f}% intervals: {'; '.join(sorted(methods))}."
    certificate = ""
    if law.certificate is not None:
        certificate = f"<p>Certificate: {escape(law.objective_name)} = {number(law.objective, 6)}; {escape(law.certificate.in_words())}.</p>"
    return (
        f"<article>{head}{_table(['parameter', 'value', 'interval'], rows, (1, 2), words)}{certificate}{foot}</article>"
    )


def _noise(study: Study) -> str:
    noise, doubt = study.noise, study.doubt
    rival = "none" if doubt.rival is None else f"{doubt.rival.name}, credibility {doubt.rival_weight:.2f}"
    text = (
        f"A new run is taken to stray from the law by {percent(noise.total)} ({percent(noise.between)} shared by a trunk's branches, "
        f"{percent(noise.within)} of each run): {noise.explanation}. Form uncertainty: {len(doubt.rollouts)} rollout predictions "
        f"(fit to the cheapest runs, predict the dearer ones) add {percent(doubt.rollout_slope)} per factor e of compute; rival form "
        f"{rival}."
    )
    return f"<p>{escape(text)}</p>"


def _other_conventions(study: Study) -> str:
    rows = [
        [
            item.parameters, item.flops, *(number(value, 4) for value in (item.alpha, item.beta, item.irreducible, item.a)),
            number(item.objective, 3), "–" if item.held_out_error_percent is None else f"{item.held_out_error_percent:+.2f}%",
        ]
        for item in study.conventions
    ]  # fmt: skip
    header = ["parameters", "FLOPs", "alpha", "beta", "E", "a", "objective", "held-out error"]
    return _table(header, rows, range(2, 8), _OTHER_CONVENTIONS_NOTE)


def _runs(study: Study) -> str:
    header = ["run", "kind", "seed", "N", "D", "FLOPs", "loss"]

    def rows(frame: pd.DataFrame, last: str | None = None) -> list[list[str]]:
        return [
            [
                str(row["run_id"]), str(row["kind"]), "–" if pd.isna(row["seed"]) else f"{row['seed']:.0f}",
                *(number(row[name], 4) for name in ("params", "tokens", "flops")), number(row["loss"], 5),
                *([str(row[last])] if last else []),
            ]
            for row in frame.to_dict("records")
        ]  # fmt: skip

    table = study.table
    text = f"<details open><summary>{len(table)} runs in the fit</summary>{_table(header, rows(table.frame), range(2, 7))}</details>"
    if len(table.held_out):
        text += f"<p>Held out</p>{_table(header, rows(table.held_out), range(2, 7))}"
    if len(table.excluded):
        text += f"<p>Excluded</p>{_table([*header, 'reason'], rows(table.excluded, 'reason'), range(2, 7))}"
    else:
        text += "<p>No run was excluded.</p>"
    return text


def _provenance(provenance: Provenance) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in provenance.entries)
        + "</dl>"
    )
