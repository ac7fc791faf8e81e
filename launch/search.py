"""Searches for hyper-parameters: `python -m launch.search --gin_file=configs/searches/X.gin [--engine=local|serial|slurm|sky]`.

Optuna suggests, the engine trains one run directory a trial, and records are what Optuna is told. Repeating the command after any stop continues;
the study is rebuilt from the run directories when its journal is lost. Settings of an engine are given as to `launch.sweep`.
Exit codes: 0 every trial has its record, diverged ones included; 1 some were given up; 2 bad input; 75 interrupted, the same command continues.
"""

from collections.abc import Sequence

from launch import engine_flags, planning_flags
from launch.engines.engine import Engine
from launch.rates import STARTUP_SECONDS
from launch.search_config import Search
from launch.tuning import driver, report, trials
from launch.tuning.prepared import Prepared, prepare
from scaling import verbs
from scaling.errors import PlumblineError
from scaling.training.progress import duration


def main(argv: Sequence[str]) -> None:
    """Prepares the search, drives it and shows what it found."""
    del argv
    planning_flags.require_gin_file("name a search of configs/searches/")
    engine = engine_flags.from_gin(verbs.gin_file_flags(), verbs.gin_binding_flags())
    search = planning_flags.from_gin(Search)
    root = planning_flags.ROOT.value or search.root
    prepared = prepare(search, root, planning_flags.FLOPS_PER_SECOND.value)
    print(_summary(prepared, engine))
    if planning_flags.DRY_RUN.value:
        return
    study = driver.run(prepared, engine)
    print(report.trials_table(study, search))
    print(report.best_lines(study, search))
    if study.failed():
        raise PlumblineError(f"{len(study.failed())} of {search.trials} trials were given up, as said above")


def _summary(prepared: Prepared, engine: Engine) -> str:
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
