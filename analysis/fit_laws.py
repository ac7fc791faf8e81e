"""Fits every scaling law to a directory of runs or a table, and writes laws.json, plots and one report.html.

python -m analysis.fit_laws --runs=DIR|CSV --output_dir=DIR [--sweep=NAME] [--parameters=total|non_embedding] [--dry_run]
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables import table
from scaling import gin_files, verbs
from scaling.errors import ConfigError, DataError, OutputError, UntrustedLawError

if TYPE_CHECKING:
    from analysis.laws.study import Study

_RUNS = flags.DEFINE_string(
    "runs",
    None,
    "A directory with record.json files at any depth, or a .csv, .parquet or .jsonl with params, tokens, loss.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where laws.json, report.html and plots/ go; needed unless --dry_run."
)
_PARAMETERS = flags.DEFINE_enum("parameters", "total", table.PARAMETER_CONVENTIONS, "How parameters are counted.")
_FLOPS = flags.DEFINE_string(
    "flops", None, "A FLOP convention of the records; by default the one that pairs with --parameters."
)
_DOMAIN = flags.DEFINE_string(
    "domain", None, "The held-out set whose loss is fitted; by default the records' primary domain."
)
_BUDGETS = flags.DEFINE_list(
    "budgets", [], "FLOPs to allocate, e.g. 1e13,1e14; by default decades up to 100 times the data."
)
_BOOTSTRAP = flags.DEFINE_integer("bootstrap", 1000, "Bootstrap replicates; 0 for no intervals.", lower_bound=0)
_LEVEL = flags.DEFINE_float("level", 0.9, "Nominal coverage of the intervals.", lower_bound=0.5, upper_bound=0.999)
_OBJECTIVE = flags.DEFINE_enum(
    "objective",
    "huber",
    ("huber", "least_absolute", "least_squares", "raw_least_squares", "mean_huber"),
    "What the parametric laws minimise; mean_huber is Hoffmann et al.'s recipe, whose optimiser stops early and is flagged.",
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance",
    2.220446049250313e-09,
    "Of the optimiser of --objective=mean_huber (ftol of L-BFGS-B).",
    lower_bound=0.0,
)
_INFERENCE_TOKENS = flags.DEFINE_float(
    "inference_tokens",
    None,
    "Tokens that a model will serve over its life: adds the inference-aware optimum.",
    lower_bound=0.0,
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.")
_HELD_OUT = flags.DEFINE_list("held_out", [], "Run ids to hold out, beside the runs tagged role=held_out.")
_SWEEP = flags.DEFINE_string("sweep", None, "Only runs of this sweep: its name, or its id.")
_TITLE = flags.DEFINE_string("title", "Scaling laws", "Title of the report.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the runs that would be fitted, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    verbs.share_compilations()
    # JAX takes a second to import, and --help needs none of it.
    from analysis.laws import study
    from analysis.report import terminal

    started = time.monotonic()
    if not _OUTPUT_DIR.value and not _DRY_RUN.value:
        raise ConfigError("--output_dir is missing", "say where the report goes, or add --dry_run")
    if verbs.gin_file_flags() or verbs.gin_binding_flags():
        raise ConfigError("fit_laws reads no Gin file and no binding", "remove --gin_file and --gin.NAME=value")
    options = study.Options(
        _BOOTSTRAP.value,
        _LEVEL.value,
        _SEED.value,
        _OBJECTIVE.value,
        _TOLERANCE.value,
        _INFERENCE_TOKENS.value,
        _budgets(),
    )
    try:
        conventions = table.Conventions(_PARAMETERS.value, _FLOPS.value, _DOMAIN.value)
        runs = table.load(_RUNS.value, conventions, tuple(_HELD_OUT.value), _SWEEP.value)
        if _DRY_RUN.value:
            print(
                "\n".join(
                    [
                        *terminal.describe_table(runs),
                        f"would fit all laws with {options.bootstrap} bootstrap replicates",
                    ]
                )
            )
            return
        _make_output_directory()
        fitted = study.fit_all(runs, options)
    except TableError as error:
        raise DataError(error.what, error.remedy) from error
    print("\n".join(terminal.describe(fitted)))
    _write(fitted)
    print(f"wrote {_OUTPUT_DIR.value}: laws.json, report.html, plots/ ({time.monotonic() - started:.1f} s)")
    if not fitted.trusted:
        what = "; ".join(fitted.parametric.certificate.objections)
        raise UntrustedLawError(
            f"the parametric law cannot be trusted: {what}", "read its flags; more or other runs settle it"
        )


def _make_output_directory() -> None:
    """Before the fits, so that a minute's work is not lost on a path that cannot be written."""
    try:
        epath.Path(_OUTPUT_DIR.value).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"--output_dir={_OUTPUT_DIR.value} is not a directory", "choose another path") from error
    except OSError as error:
        raise OutputError(
            f"--output_dir={_OUTPUT_DIR.value} cannot be made: {error.strerror}", "choose a path that can be written"
        ) from error


def _write(fitted: "Study") -> None:
    # Matplotlib takes a second to import, and --help, --dry_run and refusals need none of it.
    from analysis.report import provenance, writing

    origin = provenance.provenance_of(
        fitted.table, gin_files.command_line(), gin_files.PROJECT_ROOT, fitted.options.seed
    )
    writing.write(fitted, origin, epath.Path(_OUTPUT_DIR.value), _TITLE.value)


def _budgets() -> tuple[float, ...]:
    try:
        values = tuple(sorted(float(item) for item in _BUDGETS.value))
    except ValueError as error:
        raise ConfigError(
            f"--budgets={','.join(_BUDGETS.value)}: {error}", "give numbers separated by commas"
        ) from error
    if any(not 0 < value < float("inf") for value in values):
        raise ConfigError(
            f"--budgets={','.join(_BUDGETS.value)} holds a value that is not positive", "give FLOPs above zero"
        )
    return values


if __name__ == "__main__":
    verbs.run(main)
