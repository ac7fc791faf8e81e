"""Draws the reward-KL frontier of runs of alignment, compares methods and fits over-optimisation laws; writes frontier.json, plots and one report.html.

python -m analysis.frontier --runs=DIR [--runs=DIR2] --output_dir=DIR [--judgements=FILE.jsonl --key=key.jsonl] [--level=0.9] [--dry_run]

Judgements are verdicts on pairs of answers, by any judge that was asked in both orders (`analysis.comparisons` writes what to ask).
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from etils import epath

from analysis import output_directory
from analysis.laws.errors import TableError
from scaling import gin_files, verbs
from scaling.errors import ConfigError, DataError, UntrustedLawError

if TYPE_CHECKING:
    from analysis.alignment.judging.judged import Judged
    from analysis.alignment.measurements import Measurements
    from analysis.alignment.study import AlignmentStudy

_RUNS = flags.DEFINE_multi_string(
    "runs",
    None,
    "A directory with runs of alignment (record.json, measurements.jsonl) at any depth; repeatable.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where frontier.json, report.html and plots/ go; needed unless --dry_run."
)
_JUDGEMENTS = flags.DEFINE_multi_string(
    "judgements",
    [],
    "Verdicts of a judge, JSON lines (analysis.alignment.judging.judgements); repeatable, a file for each judge.",
)
_KEY = flags.DEFINE_string("key", "", "The key.jsonl of the judged comparisons; needed where verdicts name them by id.")
_LEVEL = flags.DEFINE_float("level", 0.9, "Nominal coverage of the intervals.", lower_bound=0.5, upper_bound=0.999)
_DRAWS = flags.DEFINE_integer("draws", 400, "Draws of a law's parameters for its band; 0 for no band.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.")
_TITLE = flags.DEFINE_string("title", "Reward and KL", "Title of the report.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the runs that would be analysed, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    verbs.share_compilations()
    if not _OUTPUT_DIR.value and not _DRY_RUN.value:
        raise ConfigError("--output_dir is missing", "say where the report goes, or add --dry_run")
    if verbs.gin_file_flags() or verbs.gin_binding_flags():
        raise ConfigError("frontier reads no Gin file and no binding", "remove --gin_file and --gin.NAME=value")
    try:
        _analyse()
    except TableError as error:
        raise DataError(error.what, error.remedy) from error


def _analyse() -> None:
    # The reading needs neither JAX nor Matplotlib, so --help and refusals are fast.
    from analysis.alignment import measurements

    started = time.monotonic()
    table = measurements.read(_RUNS.value)
    from analysis.alignment import study, terminal

    judged = _judged(table)
    if _DRY_RUN.value:
        print("\n".join(terminal.describe_table(table)))
        return
    output_directory.make(_OUTPUT_DIR.value)
    found = study.study(table, study.Options(_LEVEL.value, _DRAWS.value, _SEED.value), judged)
    print("\n".join(terminal.describe(found)))
    _write(found)
    print(f"wrote {_OUTPUT_DIR.value}: frontier.json, report.html, plots/ ({time.monotonic() - started:.1f} s)")
    if found.objections:
        raise UntrustedLawError(
            f"{len(found.objections)} over-optimisation laws cannot be trusted: {'; '.join(found.objections)}",
            "read their flags; more seeds or policies further away settle it",
        )


def _judged(table: "Measurements") -> "list[Judged]":
    """What judges said, before anything is fitted: a line that cannot be used is refused at once."""
    from analysis.alignment.judging import answers, judged, judgements

    if _KEY.value and not _JUDGEMENTS.value:
        raise ConfigError("--key without --judgements", "give the verdicts too, or leave out the key")
    if not _JUDGEMENTS.value:
        return []
    runs = answers.read(table)
    return judged.judged(judgements.read(_JUDGEMENTS.value, _KEY.value, runs), runs, _LEVEL.value)


def _write(found: "AlignmentStudy") -> None:
    from analysis.alignment import figures, html
    from analysis.report import provenance, writing
    from analysis.report.html import Provenance

    origin = Provenance((
        ("command", gin_files.command_line()),
        ("runs from", ", ".join(found.measurements.sources)),
        ("analysis at commit", provenance.git_commit(gin_files.PROJECT_ROOT)),
        ("seed of the draws", str(found.options.seed)),
        ("versions", provenance.versions()),
    ))  # fmt: skip
    drawn = figures.draw_all(found)
    page = html.render(found, drawn, origin, _TITLE.value)
    writing.write_files("frontier.json", found.to_json(), page, drawn, epath.Path(_OUTPUT_DIR.value))


if __name__ == "__main__":
    verbs.run(main)
