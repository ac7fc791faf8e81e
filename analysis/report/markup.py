"""The pieces of HTML that sections of the report are made of; every text is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from analysis.laws.result import Estimate
from analysis.report.figures import Drawn
from analysis.report.formatting import interval, number, short, short_interval


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), caption: str = "") -> str:
    """A table of escaped cells; `numeric` columns are right-aligned, the caption stands below."""
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


def figures(drawn: Mapping[str, Drawn], *names: str) -> str:
    """The named figures that were drawn, with captions, in this order."""
    return "".join(
        f'<figure role="img" aria-label="{escape(drawn[name].title)}">{drawn[name].inline}'
        f"<figcaption>{escape(drawn[name].caption)}</figcaption></figure>"
        for name in names
        if name in drawn
    )


def flag_list(flags: Sequence[str]) -> str:
    """A list of warnings; empty where there are none."""
    return "<ul>" + "".join(f'<li class="flag">{escape(flag)}</li>' for flag in flags) + "</ul>" if flags else ""


def paragraph(text: str, soft: bool = False) -> str:
    """One escaped paragraph."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def cell(item: Estimate, digits: int = 3) -> str:
    """A value with its interval below it, as a table's cell."""
    return f"{number(item.value, digits)}\n{interval(item, digits)}"


def count_cell(item: Estimate) -> str:
    """The same of a count of parameters or tokens."""
    return f"{short(item.value)}\n{short_interval(item)}"
