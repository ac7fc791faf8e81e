"""Puts a study on disk: laws.json, report.html and plots, each whole or not at all."""

import json
import os

from etils import epath

from analysis.laws.study import Study
from analysis.report.figures import draw_all
from analysis.report.html import Provenance, render

LAWS, REPORT, PLOTS = "laws.json", "report.html", "plots"


def write(study: Study, provenance: Provenance, directory: epath.Path, title: str = "Scaling laws") -> list[epath.Path]:
    """Writes everything and returns the paths.

    All contents are made before the first byte is written, and every file is written beside its name and then renamed.

    Raises:
      OSError: the directory cannot be written.
    """
    figures = draw_all(study)
    contents = {
        LAWS: json.dumps(study.to_json(), indent=2, allow_nan=False).encode() + b"\n",
        REPORT: render(study, figures, provenance, title).encode(),
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
