"""The figures of a study: which plots there are, their captions, and how they become PNG, SVG and inline SVG."""

import dataclasses
import io
import re
from collections.abc import Iterator

import matplotlib
from matplotlib.figure import Figure

from analysis.laws.optima import envelope, isoflop
from analysis.laws.result import Result
from analysis.laws.study import Study
from analysis.report import plots

# Stands for the page's text colour: nearly black in files, `currentColor` in the report, so that dark pages stay
# legible.
INK = "#0b0c0d"
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "lines.solid_capstyle": "round",
}
_PNG_DPI = 130


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A finished figure: its name (of files and anchors), title, caption and encodings."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: str

    @property
    def inline(self) -> str:
        """The SVG as an element of an HTML page: no prolog, no namespaces, nothing that names another host."""
        svg = self.svg[self.svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
        # Points to pixels, a little enlarged: small figures stay small on a wide page.
        width = 1.45 * float(re.search(r'width="([\d.]+)pt"', svg).group(1))
        head, rest = svg.split(">", 1)
        svg = (
            re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", head)
            + f' style="max-width:{width:.0f}px">'
            + rest
        )
        # Ids must not collide with those of the other figures on the page.
        svg = re.sub(r'\bid="', f'id="{self.name}-', svg)
        svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{self.name}-", svg)
        return svg.replace(INK, "currentColor")


def draw_all(study: Study) -> list[Drawn]:
    """Every figure that the study supports, in the order of the report."""
    with matplotlib.rc_context(STYLE):
        return list(_drawn(study))


def _drawn(study: Study) -> Iterator[Drawn]:
    table, law = study.table, study.parametric
    by_isoflop, by_envelope = study.laws[isoflop.NAME], study.laws[envelope.NAME]
    percent = f"{100 * study.options.level:.0f}%"
    figure = Figure((8.6, 4.6))
    plots.loss_against_compute(
        law, table, figure.add_subplot(), by_envelope if isinstance(by_envelope, Result) else None, tuple(study.checks)
    )
    yield encoded(
        figure, "loss_against_compute", "Loss against compute",
        f"Every run of the fit; the compute-efficient frontier of the parametric law with its {percent} band (parameters only); "
        "the envelope where approach 1 finds an optimum inside the ladder; held-out runs with their forecasts.",
    )  # fmt: skip
    figure = Figure((7.2, 4.8))
    plots.loss_contours(law, table, figure.add_subplot())
    yield encoded(
        figure,
        "loss_contours",
        "L(N, D)",
        "Contours of the parametric law, the runs, and the compute-efficient frontier.",
    )
    if isinstance(by_isoflop, Result):
        figure = Figure((8.6, 4.2))
        plots.isoflop_curves(by_isoflop, table, figure.add_subplot())
        source = (
            "read off each size's curve" if by_isoflop.details["interpolated"] else "of the runs trained at each budget"
        )
        yield encoded(
            figure, "isoflop", "IsoFLOP parabolas", f"Losses {source}, the parabola of every budget and its minimum."
        )
    figure = Figure((6.4, 0.7 + 0.55 * len(study.approaches)))
    plots.exponents(study.approaches, figure.add_subplot())
    yield encoded(
        figure,
        "exponents",
        "How the approaches agree",
        f"The exponent of the compute-optimal size by each approach, with {percent} intervals.",
    )
    figure = Figure((8.6, 3.6))
    plots.residuals(law, table, figure.add_subplot())
    yield encoded(
        figure, "residuals", "Residuals", "Measured over fitted loss; a pattern here is a fault of the form, not noise."
    )
    figure = Figure((8.6, 4.2))
    if plots.training_curves(table, figure.add_subplot()) is not None:
        yield encoded(figure, "training_curves", "Training curves", "Training loss over tokens of the runs in the fit.")


def encoded(figure: Figure, name: str, title: str, caption: str) -> Drawn:
    """A figure as PNG and SVG; to be called inside `matplotlib.rc_context(STYLE)`, in which it was drawn."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=_PNG_DPI, bbox_inches="tight", facecolor="white")
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    return Drawn(name, title, caption, png.getvalue(), svg.getvalue())
