"""What speaks for and against the laws: held-out checks, rollouts, noise, the approaches, other conventions."""

from collections.abc import Mapping
from html import escape

from analysis.laws.accounting.conventions import UnderConvention
from analysis.laws.forecasts.check import Check
from analysis.laws.study import Study
from analysis.report.figures import Drawn
from analysis.report.formatting import interval, number, percent, short
from analysis.report.markup import cell, count_cell, figures, flag_list, paragraph, table

PARAMETERS = {"total": "all parameters (total)", "non_embedding": "non-embedding parameters"}


def checks(study: Study) -> str:
    """The verdict on every held-out run."""
    if not study.checks:
        return paragraph(
            "No run was held out, so no prediction was checked: the laws describe the runs they were fitted to, and nothing more."
        )
    return "".join(_verdict(check) for check in study.checks)


def _verdict(check: Check) -> str:
    kind, made = "inside" if check.inside else "outside", check.forecast
    name = f"{escape(check.name)} " if check.title != check.run_id else ""
    verdict = (
        f"<p>Run {name}<code>{escape(check.run_id)}</code>: predicted <b>{made.value:.4f}</b> {check.unit}, "
        f"{100 * made.level:.0f}% interval [{made.interval[0]:.4f}, {made.interval[1]:.4f}]; measured <b>{check.measured:.4f}</b>, "
        f'<strong class="{kind}">{kind} the interval</strong>. The measured loss is {check.error_percent:+.2f}% off the prediction, '
        f"{check.sigma:+.2f} standard deviations.</p>"
    )
    details = (
        f"{short(made.params)} parameters, {short(made.tokens)} tokens, {number(made.flops, 3)} FLOPs: "
        f"{number(made.reach['flops'], 3)} times the largest compute in the fit.",
        f"{_sentence(check.size_in_words)}. Far from 1, the check tests L(N, D) beside the frontier rather than at the optimum.",
        f"{_sentence(check.error_in_words)}.",
        f"Standard deviation of the forecast {percent(made.deviation)}; the parametric law alone says {made.by_law:.4f}.",
    )
    soft = "".join(paragraph(line, soft=True) for line in details)
    return f'<div class="verdict {kind}">{verdict}{soft}{flag_list(made.flags)}</div>'


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:]


def rollouts(study: Study) -> str:
    """How well every form, fitted to the cheapest runs, predicted the dearer ones."""
    if not study.rollouts:
        return paragraph("Rollouts: too few runs to fit the forms to the cheapest ones alone.")
    rows = [
        [
            score.form, f"{score.weight:.2f}", score.where, str(score.predictions), f"{score.error_percent:.2f}%",
            f"{score.bias_percent:+.2f}%", f"{100 * score.coverage:.0f}%", f"{score.width_percent:.2f}%", f"{score.interval_score:.2f}%",
        ]
        for score in study.rollouts
    ]  # fmt: skip
    header = ["form", "weight", "× C fitted", "runs", "error", "bias", "coverage", "width", "score"]
    caption = (
        f"Rollouts: every form with its discrepancy, fitted to the cheapest runs in {len(study.outlook.rolled)} windows, predicts the dearer ones; "
        f"by how far beyond the compute fitted. Error is the median of |measured over predicted loss − 1|; coverage, width and interval score "
        f"(lower is better) are of {100 * study.options.level:.0f}% intervals before rollouts stretched them. Forecasts weigh the forms so; "
        "special cases of theirs have weight 0."
    )
    return table(header, rows, range(1, 9), caption)


def noise(study: Study) -> str:
    """The scatter of runs around the law."""
    found = study.noise
    return paragraph(
        f"A new run is taken to stray from the law by {percent(found.total)} ({percent(found.between)} shared by a trunk's branches, "
        f"{percent(found.within)} of each run): {found.explanation}."
    )


def approaches(study: Study, drawn: Mapping[str, Drawn]) -> str:
    """Chinchilla's approaches side by side: exponents, then optima at the same budgets."""
    level = f"{100 * study.options.level:.0f}%"
    exponents = [
        [
            item.title, cell(item.exponents.a), cell(item.exponents.b),
            f"{number(item.exponents.low_flops, 3)} to {number(item.exponents.high_flops, 3)}",
        ]
        for item in study.approaches
    ]  # fmt: skip
    about = (
        f"N_opt ∝ C^a and D_opt ∝ C^b with {level} intervals. The last column is the compute that they were read from: the points of "
        "approaches 1 and 2, all runs of approach 3. Beyond it they are extrapolated."
    )
    main = [item for item in study.approaches if item.is_main]
    optima = [
        [number(best.flops, 3), number(best.beyond, 2)]
        + [count_cell(values[index]) for item in main for values in (item.params, item.tokens)]
        for index, best in enumerate(study.compute_optimal)
    ]
    header = ["FLOPs", "× fitted"]
    header += [f"{letter}, approach {item.title[0]}" for item in main for letter in ("N", "D")]
    caption = f"N_opt and D_opt by each approach with {level} intervals; × fitted is the budget over the largest compute in the fit."
    return (
        table(["approach", "a", "b", "FLOPs"], exponents, (1, 2, 3), about)
        + figures(drawn, "exponents")
        + table(header, optima, range(len(header)), caption)
    )


def other_conventions(study: Study) -> str:
    """The fits of L(N, D) by the count of parameters, then the exponent a by the count of FLOPs."""
    counted = list(dict.fromkeys(item.parameters for item in study.conventions))
    first = {name: next(item for item in study.conventions if item.parameters == name) for name in counted}
    fits = [
        [
            PARAMETERS[name], *(cell(item.law.parameters[key], 4) for key in ("alpha", "beta", "E")), number(item.law.objective, 3),
            "–" if item.held_out_error_percent is None else f"{item.held_out_error_percent:+.2f}%",
        ]
        for name, item in first.items()
    ]  # fmt: skip
    about = (
        "L(N, D) fitted with N counted either way; it does not depend on how FLOPs are counted. Embeddings weigh most in the smallest "
        "models, so the exponents move with the count; the held-out column says which one extrapolates."
    )
    slopes = [
        [
            PARAMETERS[item.parameters], item.flops, cell(item.exponents.a), "–" if item.moved is None else cell(item.moved),
            _range(item),
        ]
        for item in study.conventions
    ]  # fmt: skip
    caption = (
        "The exponent a of N_opt for a budget of the named FLOPs, by the count of N: the mean slope of ln N_opt over ln C from the "
        "cheapest to the dearest run, whose FLOPs stand in the last column. Moved is a against the first row, Kaplan's way of counting where it is "
        "known; the same replicates serve every row."
    )
    header = ["parameters", "alpha", "beta", "E", "objective", "held-out error"]
    return table(header, fits, range(1, 6), about) + table(
        ["N", "FLOPs of the budget", "a", "moved", "between FLOPs"], slopes, range(2, 5), caption
    )


def _range(item: UnderConvention) -> str:
    return f"{number(item.exponents.low_flops, 3)} and {number(item.exponents.high_flops, 3)}"


def exponent_in_words(study: Study) -> str:
    """The parametric law's exponent with the compute that it is known for."""
    found = next(item for item in study.approaches if item.title.startswith("3")).exponents
    return (
        f"By the parametric law N_opt grows as C^{number(found.a.value, 3)} {interval(found.a, 3)} between "
        f"{number(found.low_flops, 3)} and {number(found.high_flops, 3)} FLOPs"
    )
