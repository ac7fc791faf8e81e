"""Puts a study on disk: laws.json, report.html and plots, each whole or not at all."""

import json
import os
from collections.abc import Sequence
from typing import Any

from etils import epath

from analysis.laws.study import Study
from analysis.report.figures import Drawn, draw_all
from analysis.report.html import Provenance, render

LAWS, REPORT, PLOTS = "laws.json", "report.html", "plots"


def write(study: Study, provenance: Provenance, directory: epath.Path, title: str = "Scaling laws") -> list[epath.Path]:
    """Writes everything and returns the paths.

    All contents are made before the first byte is written, and every file is written beside its name and then renamed.

    Raises:
      OSError: the directory cannot be written.
    """
    figures = draw_all(study)
    return write_files(LAWS, study.to_json(), render(study, figures, provenance, title), figures, directory)


def write_files(
    numbers: str, document: dict[str, Any], page: str, figures: Sequence[Drawn], directory: epath.Path
) -> list[epath.Path]:
    """Writes a report's numbers (a JSON file of that name), page and plots, and returns the paths. Raises OSError."""
    contents = {
        numbers: json.dumps(document, indent=2, allow_nan=False).encode() + b"\n",
        REPORT: page.encode(),
    }
    for figure in figures:
        contents[f"{PLOTS}/{figure.name}.png"] = figure.png
        contents[f"{PLOTS}/{figure.name}.svg"] = figure.svg.encode()
    (directory / PLOTS).mkdir(parents=True, exist_ok=True)
    return [_replace(directory / name, content) for name, content in contents.items()]


def _replace(path: epath.Path, content: bytes) -> epath.Path:
    partial = path.parent / f"{path.name}.partial-{os.getpid()}"
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path
