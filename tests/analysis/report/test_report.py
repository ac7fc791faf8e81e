"""The report and laws.json of a study, seen as a reader and as a program would."""

import dataclasses
import json
import math
import re

import pytest
from etils import epath
from matplotlib.figure import Figure

from analysis.laws import parametric
from analysis.laws.result import Estimate
from analysis.laws.tables import sources, table
from analysis.report import figures, html, plots, terminal, writing
from analysis.report.formatting import interval, number, short
from tests.analysis.conftest import noise_free_frame

LAWS = (
    "chinchilla_envelope", "chinchilla_envelope_lowest_size", "chinchilla_envelope_hull", "chinchilla_isoflop", "chinchilla_isoflop_akima",
    "chinchilla_parametric", "kaplan_n", "kaplan_n_offset", "kaplan_d", "kaplan_d_offset",
    "kaplan_c", "kaplan_c_offset", "kaplan_nd", "skaling", "over_training",
    "broken_power_law", "critical_batch", "kaplan_c_min", "kaplan_ns",
)  # fmt: skip
ORIGIN = html.Provenance((("command", "python -m analysis.fit_laws --runs=<ladder>"), ("token store", "s" * 8)))


@pytest.fixture(scope="module")
def written(small_study, tmp_path_factory):
    directory = epath.Path(tmp_path_factory.mktemp("report"))
    writing.write(small_study, ORIGIN, directory)
    return directory


def numbers_of(node):
    """Every leaf of a JSON tree."""
    if isinstance(node, dict):
        for item in node.values():
            yield from numbers_of(item)
    elif isinstance(node, list):
        for item in node:
            yield from numbers_of(item)
    else:
        yield node


def check_estimate(item):
    assert set(item) == {"value", "interval", "level", "method"}
    assert item["value"] is None or isinstance(item["value"], float)
    if item["interval"] is not None:
        low, high = item["interval"]
        assert low <= high
    assert 0 < item["level"] < 1 and item["method"]


def test_laws_json_follows_the_schema_and_holds_no_nan(written):
    text = (written / "laws.json").read_text()
    laws = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert laws["schema_version"] == 1
    assert len(laws["runs"]["used"]) == 39
    assert {"run_id": "held-out", "reason": "held out"} in laws["runs"]["excluded"]
    assert all(set(item) == {"run_id", "reason"} and item["reason"] for item in laws["runs"]["excluded"])
    assert tuple(laws["laws"]) == LAWS
    for law in laws["laws"].values():
        assert set(law) == {
            "form", "source", "conventions", "parameters", "derived", "objective", "certificate", "flags", "runs",
        }  # fmt: skip
        assert law["conventions"] == {"parameters": "total", "flops": "6nd", "domain": "validation"}
        for item in [*law["parameters"].values(), *law["derived"].values()]:
            check_estimate(item)
        if law["parameters"]:
            assert {
                "distinct_optima",
                "second_gap",
                "gradient_relative",
                "active_bounds",
                "condition_number",
                "identifiability",
            } <= set(law["certificate"])
    for item in laws["compute_optimal"]:
        assert item["flops"] > 0
        for name in ("params", "tokens", "loss"):
            check_estimate(item[name])
    assert all(math.isfinite(leaf) for leaf in numbers_of(laws) if isinstance(leaf, float))


def test_report_is_self_contained(written):
    """Nothing in it makes a browser ask another host or file."""
    page = (written / "report.html").read_text()
    assert "<script" not in page and "<link" not in page and "<img" not in page and "@import" not in page
    assert not re.search(r"https?://", page)
    references = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    assert references and all(reference.startswith("#") for reference in references)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {reference[1:] for reference in references} <= set(ids)


def test_report_mentions_every_law_run_and_verdict(written, small_study):
    page = (written / "report.html").read_text()
    for name in LAWS:
        assert f"<h3>{name}</h3>" in page
    for law in small_study.laws.values():
        for flag in law.flags:
            assert flag.replace("'", "&#x27;") in page
    assert "diverged-run" in page and "loss became NaN at step 40" in page
    assert ("inside" if small_study.checks[0].inside else "outside") + " the interval" in page
    assert "&lt;ladder&gt;" in page, "text is escaped"
    assert (
        "nan"
        not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower().replace("became nan", "").split("provenance")[0]
    )


def test_plots_are_written_twice(written):
    for name in ("loss_against_compute", "loss_contours", "isoflop", "exponents", "residuals"):
        assert (written / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (written / "plots" / f"{name}.svg").read_text()
    assert not [path for path in written.iterdir() if "partial" in path.name]


def test_plots_return_their_axes_and_training_curves_need_metrics(small_study, ladder, ladder_directory):
    ax = Figure().add_subplot()
    assert plots.residuals(small_study.parametric, ladder, ax) is ax
    assert plots.training_curves(ladder, Figure().add_subplot()) is None


def write_curve(directory, steps, first_loss):
    attempt = directory / "attempts" / "0000"
    attempt.mkdir(parents=True)
    lines = [json.dumps({"tokens": 1000 * step, "loss": first_loss - 0.1 * step}) for step in steps]
    (attempt / "metrics.jsonl").write_text("\n".join([*lines, '{"tokens": 90']))


def test_training_curves_draw_a_trunk_once_and_each_of_its_branches(ladder, tmp_path):
    """From directories side by side, named as the table's clusters; a torn last line is left out."""
    write_curve(tmp_path / "trunk", range(1, 65), 9.0)
    write_curve(tmp_path / "short", range(33, 41), 8.9)
    write_curve(tmp_path / "long", range(65, 81), 8.8)
    frame = ladder.frame.assign(path="")
    frame.loc[[0, 1], "path"] = [str(tmp_path / "short"), str(tmp_path / "long")]
    frame.loc[[0, 1], "cluster"] = "trunk"
    frame.loc[1, "params"] = frame.loc[0, "params"]
    ax = plots.training_curves(dataclasses.replace(ladder, frame=frame), Figure().add_subplot())
    assert [line.get_ydata()[0] for line in ax.lines] == pytest.approx([8.9, 5.5, 2.25], abs=0.15)
    assert all(len(line.get_xdata()) < 40 for line in ax.lines), "64 steps are six points a doubling"


def test_inline_figures_use_the_pages_ink(written):
    svg = (written / "plots" / "residuals.svg").read_text()
    drawn = figures.Drawn("residuals", "Residuals", "", b"", svg)
    assert "currentColor" in drawn.inline and figures.INK not in drawn.inline
    assert figures.INK in drawn.svg


def test_terminal_names_laws_exclusions_and_verdict(small_study):
    text = "\n".join(terminal.describe(small_study))
    assert all(name in text for name in LAWS)
    assert "excluded 1: diverged" in text and "measured" in text


def test_numbers_read_well():
    assert [number(value) for value in (0.0, 1.8172, 12345.6, 1.5e12, 2.5e-7, float("nan"))] == [
        "0",
        "1.817",
        "12,346",
        "1.500e12",
        "2.500e-7",
        "–",
    ]
    assert interval(Estimate(1.0, (0.5, 2.0))) == "[0.5000, 2.000]"
    assert [short(value) for value in (999.9, 14_928, 999_936, 2.5e9)] == ["1k", "14.9k", "1M", "2.5B"]


def test_contours_of_a_surface_that_is_almost_flat_are_drawn():
    frame = noise_free_frame()
    flat = table.build(sources.from_frame(frame.assign(loss=3.0 + 1e-9 * frame.index)))
    axes = plots.loss_contours(parametric.fit(flat), flat, Figure().add_subplot())
    assert axes.get_xlabel() == "tokens"
