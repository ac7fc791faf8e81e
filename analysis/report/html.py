"""One self-contained report.html: no script, no request, figures as inline SVG, legible on light and dark pages."""

import dataclasses
import pathlib
from collections.abc import Sequence
from html import escape

from analysis.laws.result import NotFitted, Result
from analysis.laws.study import Study
from analysis.report import evidence, inventory
from analysis.report.figures import Drawn
from analysis.report.formatting import interval, number
from analysis.report.markup import cell, count_cell, flag_list, paragraph, table
from analysis.report.markup import figures as figure_list

_STYLE = (pathlib.Path(__file__).parent / "report.css").read_text()


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a report comes from: label and text, in order."""

    entries: tuple[tuple[str, str], ...]


def render(study: Study, figures: Sequence[Drawn], provenance: Provenance, title: str = "Scaling laws") -> str:
    """The whole page."""
    drawn = {figure.name: figure for figure in figures}
    sections = [
        (
            "held-out",
            "Held-out check",
            evidence.checks(study) + "".join(paragraph(f"Known truth: {item.in_words()}.") for item in study.truths),
        ),
        ("frontier", "Loss against compute", figure_list(drawn, "loss_against_compute")),
        ("optimal", "Compute-optimal models", _compute_optimal(study)),
        ("approaches", "The three approaches", evidence.approaches(study, drawn)),
        (
            "laws",
            "Laws",
            _law_summary(study)
            + figure_list(drawn, "loss_contours", "isoflop")
            + "".join(_law(law, study) for law in study.laws.values()),
        ),
        (
            "residuals",
            "Residuals, noise and rollouts",
            figure_list(drawn, "residuals") + evidence.noise(study) + evidence.rollouts(study),
        ),
        ("conventions", "Under other conventions", evidence.other_conventions(study)),
        (
            "runs",
            "Runs and their cost",
            paragraph(_cost(study)) + figure_list(drawn, "training_curves") + inventory.runs(study),
        ),
        ("provenance", "Provenance", provenance_list(provenance)),
    ]
    return page(title, _summary(study), sections)


def page(title: str, summary: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole page of sections: anchor, heading and HTML of each; the summary is HTML too, the title text."""
    navigation = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(name)}</h2>{content}</section>' for anchor, name, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{summary}<nav>{navigation}</nav>{body}</body></html>\n"
    )


def _summary(study: Study) -> str:
    frame = study.table.frame
    text = (
        f"{len(frame)} runs of {len(set(study.table.codes('params').tolist()))} sizes, {number(frame['params'].min(), 3)} to "
        f"{number(frame['params'].max(), 3)} parameters ({study.table.conventions.parameters}), "
        f"{number(frame['flops'].min(), 3)} to {number(frame['flops'].max(), 3)} FLOPs ({study.table.conventions.flops}), loss on "
        f"{study.table.conventions.domain} in {study.table.loss_unit}. {evidence.exponent_in_words(study)}. {_cost(study)}"
    )
    # What speaks against the law as a whole must not stand far below the numbers that it spoils.
    # Which columns of a foreign table were taken for what.
    text += "".join(f" {line}" for line in study.table.recognised)
    verdict = ""
    if not study.trusted and study.parametric.certificate is not None:
        objections = "; ".join(study.parametric.certificate.objections)
        verdict = flag_list(
            (f"the parametric law, which allocations and forecasts rest on, is not to be trusted: {objections}",)
        )
    return paragraph(text) + verdict + flag_list((*study.table.flags, *study.noise.flags))


def _cost(study: Study) -> str:
    return study.cost.in_words(study.table.conventions.flops)


def _compute_optimal(study: Study) -> str:
    rows = [
        [
            number(item.flops, 3),
            number(item.beyond, 2),
            count_cell(item.params),
            count_cell(item.tokens),
            cell(item.loss, 4),
        ]
        for item in study.compute_optimal
    ]
    header = ["FLOPs", "× fitted", "N", "D", "loss"]
    caption = (
        f"From {study.parametric.form}. Intervals at {100 * study.options.level:.0f}% hold the uncertainty of the parameters alone; the "
        "second column is the budget over the largest compute in the fit."
    )
    return table(header, rows, range(5), caption) + _inference_aware(study)


def _inference_aware(study: Study) -> str:
    if not study.inference_aware:
        return ""
    rows = [
        [
            number(item.flops, 3),
            cell(item.loss, 4),
            count_cell(item.params),
            count_cell(item.tokens),
            cell(item.saved, 2),
        ]
        for item in study.inference_aware
    ]
    served = number(study.inference_aware[0].inference_tokens, 3)
    caption = (
        f"The losses of the compute-optimal models at the least compute over a life of {served} tokens served, 6·N·D + 2·N·served (Sardana et al. "
        "2023); saved is the share of that compute that the compute-optimal model would have cost more."
    )
    return table(["budget", "loss", "N", "D", "saved"], rows, range(5), caption)


def _law_summary(study: Study) -> str:
    rows = []
    for name, law in study.laws.items():
        if isinstance(law, NotFitted):
            rows.append([name, f"not fitted: {law.reason}", "–", "–", "–"])
            continue
        numbers = {**law.parameters, **law.derived}
        shown = "\n".join(
            f"{key} {number(item.value, 3)} {interval(item, 3)}"
            for key, item in numbers.items()
            if key in ("a", "b") or key.startswith(("alpha", "beta"))
        )
        sure = law.certificate.identifiability if law.certificate else "–"
        floor = f"{number(numbers['E'].value, 3)} {interval(numbers['E'], 3)}" if "E" in numbers else "none in its form"
        rows.append([name, shown, floor, sure, str(len(law.flags))])
    return table(
        ["law", "exponents", "floor E", "identifiable", "flags"], rows, (4,),
        f"Intervals at {100 * study.options.level:.0f}%; what the flags say stands with each law below.",
    )  # fmt: skip


def _law(law: Result | NotFitted, study: Study) -> str:
    counted = study.table.conventions
    meanings = {
        "N": evidence.PARAMETERS[counted.parameters],
        "D": "training tokens",
        "C": f"FLOPs counted as {counted.flops}",
        "L": f"{study.table.loss_unit} on {counted.domain}",
    }
    meaning = "; ".join(f"{letter}: {words}" for letter, words in meanings.items() if letter in law.form)
    head = f"<h3>{escape(law.name)}</h3><p><code>{escape(law.form)}</code></p>{paragraph(meaning, soft=True)}"
    foot = f'{flag_list(law.flags)}<p class="soft">{escape(law.source)}</p>'
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
        f"<article>{head}{table(['parameter', 'value', 'interval'], rows, (1, 2), words)}{certificate}{foot}</article>"
    )


def provenance_list(provenance: Provenance) -> str:
    """Where a report comes from, as a list of definitions."""
    return (
        "<dl>"
        + "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in provenance.entries)
        + "</dl>"
    )
