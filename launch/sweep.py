"""Trains a sweep on this machine: `python -m launch.sweep --gin_file=configs/sweeps/X.gin`.

It shows the plan and its cost, trains what is not finished yet, and shows progress. Repeating the command after any stop does what is missing.
Exit codes: 0 every run completed; 70 all finished, but some diverged (their records say so); 1 some failed; 2 bad input; 75 interrupted, the same
command continues.
"""

from collections.abc import Sequence

from absl import flags

from launch import processes, tables
from launch.local import LocalEngine, Outcome, require_local
from launch.plan import Plan, Task, make_plan, tasks_of
from launch.progress import SweepProgress
from launch.rates import Rates, rates_of
from launch.sweep_config import Sweep
from scaling import gin_files, run_directory, verbs
from scaling.errors import BadInputError, ConfigError, DivergedError, InterruptedRunError, PlumblineError

_ROOT = flags.DEFINE_string(
    "root", None, "Directory that holds run directories; by default Sweep.root of the Gin file."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan and its cost, and write nothing.")
_SLOTS = flags.DEFINE_integer(
    "slots", None, "Trainers at a time; by default one for each CPU core, or one on an accelerator.", lower_bound=1
)
_RETRIES = flags.DEFINE_integer("retries", 2, "How often a run is tried again after a crash.", lower_bound=0)
_FLOPS_PER_SECOND = flags.DEFINE_float(
    "flops_per_second",
    None,
    "FLOP/s of a slot for the prediction; by default measured on completed runs.",
    lower_bound=1.0,
)


def main(argv: Sequence[str]) -> None:
    """Plans the sweep, trains it, and turns its outcome into an exit code."""
    del argv
    if not verbs.gin_file_flags():
        raise ConfigError("--gin_file is missing", "name a sweep of configs/sweeps/")
    slots = processes.default_slots() if _SLOTS.value is None else _SLOTS.value
    rates, plan = _plan()
    tasks = tasks_of(plan.unfinished(), slots)
    print(tables.plan_table(plan))
    print(tables.plan_summary(plan, tasks, slots, rates.describe()))
    if _DRY_RUN.value:
        return
    engine = LocalEngine(plan.root, slots, command=processes.train_command([]), retries=_RETRIES.value)
    outcome = train(plan, tasks, engine, slots)
    conclude(plan, outcome)


def _plan() -> tuple[Rates, Plan]:
    gin_files.parse(Sweep, verbs.gin_file_flags(), verbs.gin_binding_flags())
    sweep = gin_files.build(Sweep).config
    # Forgets that the sweep itself was built, so that it is not among the operative bindings of the first run.
    with gin_files.overridden({}):
        pass
    root = _ROOT.value or sweep.root
    require_local(root)
    rates = rates_of(root, _FLOPS_PER_SECOND.value)
    return rates, make_plan(sweep, root, rates)


def train(plan: Plan, tasks: Sequence[Task], engine: LocalEngine, slots: int) -> Outcome:
    """Freezes every run of the plan, then trains the tasks with progress.

    Raises:
      OutputError: the root cannot be written.
    """
    for run in plan.runs:
        spec = run.unit.specs[0]
        run_directory.freeze(
            plan.root, run.loaded, spec.stores, name=run.point.label, sweep_id=plan.sweep_id, tags=run.point.tags
        )
    progress = SweepProgress(plan.runs, slots)
    try:
        return engine.run(tasks, progress.tick)
    finally:
        progress.close()


def conclude(plan: Plan, outcome: Outcome) -> None:
    """Prints the table of all runs and raises what the exit code needs.

    Raises:
      InterruptedRunError, BadInputError, PlumblineError, DivergedError: in this order of precedence; see the module's exit codes.
    """
    directories = [directory for run in plan.runs for directory in run.unit.directories]
    print(tables.runs_table(directories))
    print(tables.counts(directories))
    for run_id, failure in outcome.failures.items():
        print(f"failed: {run_id}: {failure.reason} (log: {failure.log})")
    if outcome.interrupted:
        raise InterruptedRunError("interrupted; what was trained is saved, and the same command continues")
    if outcome.failures and all(failure.bad_input for failure in outcome.failures.values()):
        raise BadInputError(f"{len(outcome.failures)} runs were refused", "see the reasons above")
    if outcome.failures:
        raise PlumblineError(f"{len(outcome.failures)} runs failed, as said above; the same command tries them again")
    diverged = sum(directory.record()["status"] == "diverged" for directory in directories)
    if diverged:
        raise DivergedError(f"{diverged} runs diverged, as their records say; the others are complete")


if __name__ == "__main__":
    verbs.run(main)
