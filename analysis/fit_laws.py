"""Fits every scaling law to a directory of runs or a table, and writes laws.json, plots and one report.html.

python -m analysis.fit_laws --runs=DIR|CSV --output_dir=DIR [--sweep=NAME] [--parameters=total|non_embedding] [--dry_run]
python -m analysis.fit_laws --runs=CSV --output_dir=DIR "--columns=params=Model Size,loss=val/loss" --units=tokens=1e9 --dry_run
python -m analysis.fit_laws --runs=DIR|CSV --output_dir=DIR --seal=PLANNED.csv        (forecasts of runs not made yet, hashed)
python -m analysis.fit_laws --runs=DIR|CSV --output_dir=DIR --score=forecast.json     (grades them when they have been made)
"""

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from absl import flags
from etils import epath

from analysis import output_directory, runs_flags
from analysis.laws import preregistration
from analysis.laws.errors import TableError
from analysis.laws.tables import table
from scaling import gin_files, verbs
from scaling.errors import ConfigError, DataError, OutputError, UntrustedLawError

if TYPE_CHECKING:
    from analysis.laws.study import Study

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where laws.json, report.html and plots/ go; needed unless --dry_run."
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
_INTERVAL = flags.DEFINE_enum(
    "interval",
    "percentile",
    ("percentile", "bca", "profile", "profile_chi2"),
    "How the intervals of parameters are made; what each covers: python -m analysis.laws.simulation.calibration.",
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
_TITLE = flags.DEFINE_string("title", "Scaling laws", "Title of the report.")
_SEAL = flags.DEFINE_string(
    "seal",
    None,
    "A CSV of runs not made yet (params, tokens [flops, name]): their forecasts go, hashed, to OUTPUT_DIR/forecast.json.",
)
_SCORE = flags.DEFINE_string(
    "score", None, "A forecast.json that --seal wrote: --runs are graded against it, and nothing is fitted."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the runs that would be fitted, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    verbs.share_compilations()
    if not _OUTPUT_DIR.value and not _DRY_RUN.value:
        raise ConfigError("--output_dir is missing", "say where the report goes, or add --dry_run")
    if verbs.gin_file_flags() or verbs.gin_binding_flags():
        raise ConfigError("fit_laws reads no Gin file and no binding", "remove --gin_file and --gin.NAME=value")
    try:
        if _SCORE.value:
            _score()
        else:
            _fit()
    except TableError as error:
        raise DataError(error.what, error.remedy) from error


def _fit() -> None:
    # JAX takes a second to import, and --help and refusals need none of it.
    from analysis.laws import study
    from analysis.report import terminal

    started = time.monotonic()
    options = study.Options(
        _BOOTSTRAP.value,
        _LEVEL.value,
        _SEED.value,
        _OBJECTIVE.value,
        _TOLERANCE.value,
        _INFERENCE_TOKENS.value,
        _budgets(),
        _INTERVAL.value,
    )
    runs = runs_flags.load()
    planned = preregistration.planned_runs(_planned_table(), runs, _SEAL.value) if _SEAL.value else []
    if _DRY_RUN.value:
        print("\n".join([*runs.recognised, *terminal.describe_table(runs)]))
        print(
            f"would fit all laws with {options.bootstrap} bootstrap replicates"
            + f" and seal {len(planned)} forecasts" * bool(planned)
        )
        return
    output_directory.make(_OUTPUT_DIR.value)
    fitted = study.fit_all(runs, options)
    print("\n".join([*runs.recognised, *terminal.describe(fitted)]))
    _write(fitted)
    print(f"wrote {_OUTPUT_DIR.value}: laws.json, report.html, plots/ ({time.monotonic() - started:.1f} s)")
    if planned:
        _seal(fitted, planned)
    if not fitted.trusted:
        what = "; ".join(fitted.parametric.certificate.objections)
        raise UntrustedLawError(
            f"the parametric law cannot be trusted: {what}", "read its flags; more or other runs settle it"
        )


def _planned_table() -> pd.DataFrame:
    try:
        return pd.read_csv(_SEAL.value)
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())
        raise TableError(
            f"--seal={_SEAL.value} cannot be read as CSV: {message}", "give a CSV with params and tokens"
        ) from error


def _seal(fitted: "Study", planned: list[preregistration.PlannedRun]) -> None:
    """Writes the sealed forecast; an earlier one is never overwritten, for it may already be published."""
    target = epath.Path(_OUTPUT_DIR.value) / "forecast.json"
    if target.exists():
        raise OutputError(
            f"{target} exists, and a sealed forecast is not replaced", "choose another --output_dir, or remove it"
        )
    made = [fitted.forecast(run.params, run.tokens, run.flops) for run in planned]
    entries = fitted.to_json()
    law = entries["laws"][fitted.parametric.name]
    document = preregistration.seal(fitted.table, planned, made, law, entries["options"])
    written = target.parent / ".forecast.json.part"
    written.write_text(json.dumps(document, indent=1) + "\n")
    written.rename(target)
    for run, forecast in zip(planned, made, strict=True):
        low, high = forecast.interval
        print(
            f"sealed {run.name}: {forecast.value:.4f} {fitted.table.loss_unit}, {100 * forecast.level:.0f}% interval [{low:.4f}, {high:.4f}]"
        )
    print(
        f"sealed {len(planned)} forecasts in {target}, sha256 {document['sha256']}: publish the digest before the runs start"
    )


def _score() -> None:
    try:
        text = epath.Path(_SCORE.value).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(
            f"--score={_SCORE.value} cannot be read: {error}", "give the file that --seal wrote"
        ) from error
    document = preregistration.opened(text, _SCORE.value)
    # Runs are found by params and tokens, so it does not matter how their FLOPs were counted.
    sealed, asked = document["conventions"], runs_flags.conventions()
    conventions = table.Conventions(sealed["parameters"], asked.flops, asked.domain or sealed["domain"])
    raw = runs_flags.read()
    runs = table.usable(raw, conventions, runs_flags.path())
    card = preregistration.score(document, runs, runs_flags.path(), table.loss_unit_of(raw))
    print("\n".join(card.in_words()))
    if not _DRY_RUN.value:
        output_directory.make(_OUTPUT_DIR.value)
        target = epath.Path(_OUTPUT_DIR.value) / "score.json"
        target.write_text(json.dumps(card.to_json(), indent=1) + "\n")
        print(f"wrote {target}")


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
