"""Trains one run, or a trunk with its branches: `python -m scaling.train --gin_file=configs/runs/X.gin --root=runs`.

Interrupt it (SIGTERM, Ctrl-C) and it saves and exits with code 75; kill it and at most the work since the last checkpoint is lost: the same command
continues. `--run_dir` trains directories that `launch.sweep` froze, several in one process, and with `--population` side by side as one program.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Literal

from absl import flags

from scaling import distributed, gin_files, run_directory, run_stores, verbs
from scaling.accounting.flops import training_flops_per_token
from scaling.accounting.parameters import count_parameters
from scaling.errors import (
    EXIT_BAD_INPUT,
    BadInputError,
    ConfigError,
    DivergedError,
    InterruptedRunError,
    PlumblineError,
)
from scaling.run_config import RunConfig

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_RUN_DIRS = flags.DEFINE_multi_string("run_dir", [], "A frozen run directory, instead of Gin files; repeatable.")
_NAME = flags.DEFINE_string("name", "", "A readable name for the run.")
_POPULATION = flags.DEFINE_string(
    "population",
    "auto",
    "How many runs that differ in seed, learning rate, schedule or weight decay alone train side by side as one program: 0 or 1 for one after the other, a "
    "number, or auto (eight for each device, fewer of large models).",
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would run and what it costs, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """Freezes the run if need be, trains it, and turns its outcome into an exit code."""
    del argv
    verbs.share_compilations()
    population = _population()
    if bool(_RUN_DIRS.value) == bool(verbs.gin_file_flags()):
        raise ConfigError("give either --gin_file or --run_dir", "see --help")
    paths = _RUN_DIRS.value or _frozen()
    if paths:
        _train(paths, population)


def _population() -> int | Literal["auto"]:
    value = _POPULATION.value
    if value == "auto":
        return "auto"
    if not value.isdecimal():
        raise ConfigError(f"--population is {value!r}", "give a number of runs, 0 for one after the other, or auto")
    return int(value)


def _frozen() -> list[str]:
    """Directories of the run that the Gin files describe; none under --dry_run."""
    loaded = gin_files.load(RunConfig, verbs.gin_file_flags(), verbs.gin_binding_flags())
    run_stores.check(loaded.config)
    stores = run_stores.hashes_of(loaded.config)
    for spec in run_directory.specs_of(loaded.config, stores, name=_NAME.value):
        print(f"{spec.run_id} {spec.kind:8} {_described(spec.config)}")
    if _DRY_RUN.value:
        return []
    distributed.start()
    freeze = functools.partial(run_directory.freeze, _ROOT.value, loaded, stores, name=_NAME.value)
    return distributed.on_lead(lambda: [str(freeze()[0].path)])


def _described(config: RunConfig) -> str:
    model = config.model
    flops = training_flops_per_token(model, config.data.sequence_length)["6nd"] * config.tokens
    return (
        f"{model.family} width {model.width} depth {model.depth} | {count_parameters(model).total:,} parameters | "
        f"{config.steps} steps of {config.batch_tokens} tokens | {flops:.3g} FLOPs (6ND)"
    )


def _train(paths: Sequence[str], population: int | Literal["auto"]) -> None:
    # Imported here, so that --help, --dry_run and configuration errors need no JAX.
    from scaling.training.family import train_directories

    distributed.start()
    statuses = train_directories(paths, population)
    bad = [name for name, status in statuses.items() if status == "bad_input"]
    failed = [name for name, status in statuses.items() if status == "failed"]
    busy = [name for name, status in statuses.items() if status == "busy"]
    diverged = [name for name, status in statuses.items() if status == "diverged"]
    if bad and len(statuses) == 1:
        sys.exit(EXIT_BAD_INPUT)  # Its line is printed already.
    if failed:
        raise PlumblineError(f"{len(failed)} of {len(statuses)} runs failed: {', '.join(failed)}")
    if busy:
        raise InterruptedRunError(
            f"{len(busy)} of {len(statuses)} runs are being trained by another process: {', '.join(busy)}"
        )
    if bad:
        raise BadInputError(f"{len(bad)} of {len(statuses)} runs were refused: {', '.join(bad)}", "see the lines above")
    if diverged:
        raise DivergedError(
            f"{len(diverged)} of {len(statuses)} runs diverged, as their records say: {', '.join(diverged)}"
        )


if __name__ == "__main__":
    verbs.run(main)
