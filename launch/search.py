"""Searches for hyper-parameters: `python -m launch.search --gin_file=configs/searches/X.gin [--engine=local|serial|slurm|sky]`.

Optuna suggests, the engine trains one run directory a trial, and records are what Optuna is told. Repeating the command after any stop continues;
the study is rebuilt from the run directories when its journal is lost. Settings of an engine are given as to `launch.sweep`.
Exit codes: 0 every trial has its record, diverged ones included; 1 some were given up; 2 bad input; 75 interrupted, the same command continues.
"""

from collections.abc import Sequence

from absl import flags

from launch import engine_flags
from launch.engines.engine import Engine
from launch.rates import STARTUP_SECONDS
from launch.search_config import Search
from launch.tuning import driver, report, trials
from scaling import gin_files, verbs
from scaling.errors import ConfigError, PlumblineError
from scaling.training.progress import duration

_ROOT = flags.DEFINE_string(
    "root", None, "Directory that holds run directories; by default Search.root of the Gin file."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what the search is and costs, and write nothing.")
_FLOPS_PER_SECOND = flags.DEFINE_float(
    "flops_per_second",
    None,
    "FLOP/s of a slot for the prediction; by default measured on completed runs.",
    lower_bound=1.0,
)


def main(argv: Sequence[str]) -> None:
    """Prepares the search, drives it and shows what it found."""
    del argv
    if not verbs.gin_file_flags():
        raise ConfigError("--gin_file is missing", "name a search of configs/searches/")
    engine = engine_flags.from_gin(verbs.gin_file_flags(), verbs.gin_binding_flags())
    gin_files.parse(Search, verbs.gin_file_flags(), verbs.gin_binding_flags())
    search = gin_files.build(Search).config
    # Forgets that the search itself was built, so that it is not among the operative bindings of the first run.
    with gin_files.overridden({}):
        pass
    root = _ROOT.value or search.root
    prepared = driver.prepare(search, root, _FLOPS_PER_SECOND.value)
    print(_summary(prepared, engine))
    if _DRY_RUN.value:
        return
    study = driver.run(prepared, engine)
    print(report.trials_table(study, search))
    print(report.best_lines(study, search))
    if study.failed():
        raise PlumblineError(f"{len(study.failed())} of {search.trials} trials were given up, as said above")


def _summary(prepared: driver.Prepared, engine: Engine) -> str:
    search, centre = prepared.search, prepared.centre
    there = trials.on_disk(prepared.root, prepared.search_id, search)
    done = sum(trial.score is not None for trial in there)
    together = min(search.parallel, engine.slots)
    rounds = -(-max(0, search.trials - done) // together)
    seconds = rounds * (centre.seconds + STARTUP_SECONDS)
    return (
        f"search {prepared.search_id}: {search.trials} trials over {', '.join(side.binding for side in search.space)}, {done} done; "
        f"{together} at a time; in the middle of the space a trial takes {centre.own_flops:.3g} FLOPs (6ND), {duration(centre.seconds)}: "
        f"about {duration(seconds)} in all ({prepared.rates.describe()})"
    )


if __name__ == "__main__":
    verbs.run(main)
