"""Trains a sweep: `python -m launch.sweep --gin_file=configs/sweeps/X.gin [--engine=local|serial|slurm|sky]`.

It shows the plan and its cost, submits what is not finished yet, and shows progress. Repeating the command after any stop does what is missing.
Settings of an engine come from a Gin file of its own (`--gin_file=configs/engines/slurm.gin`) or from bindings (`--gin.SlurmEngine.partition=gpu`).
Exit codes: 0 every run completed; 70 all finished, but some diverged (their records say so); 1 some failed; 2 bad input; 75 interrupted, the same
command continues.
"""

from collections.abc import Sequence

from absl import flags

from launch import budgets, conduct, engine_flags, manifest, planning_flags, tables
from launch.engines import catalogue
from launch.engines.engine import Engine
from launch.plan import Plan, make_plan
from launch.rates import Rates, rates_of
from launch.sweep_config import Sweep
from scaling import run_directory, verbs
from scaling.errors import ConfigError

_WATCH = flags.DEFINE_bool(
    "watch", True, "Show progress to the end; --nowatch leaves after submitting to an engine elsewhere."
)
_SHARE_ROOT = flags.DEFINE_bool("share_root", False, "Accept a root that holds sweeps of other names.")


def main(argv: Sequence[str]) -> None:
    """Plans the sweep, submits it, watches it, and turns its outcome into an exit code."""
    del argv
    planning_flags.require_gin_file("name a sweep of configs/sweeps/")
    engine = engine_flags.from_gin(verbs.gin_file_flags(), verbs.gin_binding_flags())
    if not _WATCH.value and catalogue.is_attached(engine):
        raise ConfigError(
            f"the {engine.name} engine ends with its command, so --nowatch would stop it", "leave --nowatch out"
        )
    rates, plan = _plan(engine)
    sweep = manifest.manifest_of(plan)
    submission = conduct.submission_of(sweep.unfinished(plan.root), plan.sweep_id, plan.root, engine)
    print(tables.plan_table(plan))
    if planning_flags.DRY_RUN.value:
        print(tables.jobs_table(submission))
        print(tables.submission_text(submission))
    print(tables.plan_summary(plan, submission, engine.slots, rates.describe()))
    budgets.check(plan.sweep, sum(run.own_flops for run in plan.runs), submission.seconds, submission.cost)
    if planning_flags.DRY_RUN.value:
        return
    _start(plan, sweep, submission, engine)


def _plan(engine: Engine) -> tuple[Rates, Plan]:
    sweep = planning_flags.from_gin(Sweep)
    root = planning_flags.ROOT.value or sweep.root
    if run_directory.is_remote(root) and not engine.reads_buckets:
        raise ConfigError(
            f"the root {root} is not on a local disk, which the {engine.name} engine needs", "give a local directory"
        )
    if not _SHARE_ROOT.value:
        manifest.refuse_other_sweeps(root, sweep.name)
    rates = rates_of(root, planning_flags.FLOPS_PER_SECOND.value)
    return rates, make_plan(sweep, root, rates)


def _start(plan: Plan, sweep: manifest.Manifest, submission: conduct.Submission, engine: Engine) -> None:
    if not submission.jobs:
        conduct.freeze(plan)
        manifest.write(plan.root, sweep)
        conduct.conclude(plan.root, sweep, conduct.Outcome())
        return
    engine.check(plan.root)
    conduct.freeze(plan)
    sweep = conduct.submit(sweep, submission, engine)
    if not _WATCH.value:
        print(f"submitted; python -m launch.status --root={plan.root} --sweep={sweep.sweep_id} shows it")
        return
    conduct.conclude(plan.root, sweep, conduct.watch(plan.root, sweep, engine))


if __name__ == "__main__":
    verbs.run(main)
