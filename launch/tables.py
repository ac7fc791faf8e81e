"""Tables of plans and of runs, as text."""

from collections.abc import Sequence
from typing import Any

from launch import states
from launch.plan import Plan, Task, makespan
from scaling.accounting import parameters
from scaling.run_directory import RunDirectory, Spec
from scaling.training.progress import duration, si


def plan_table(plan: Plan) -> str:
    """One row a run: size, horizon, cost, group and state."""
    header = ("run", "what", "params", "tokens", "epochs", "FLOPs (6ND)", "models", "predicted", "group", "state")
    rows = [
        (
            run.unit.run_id[:8],
            f"{run.point.label}{_tags(run.point.tags)}",
            si(run.parameters),
            si(run.config.steps * run.config.batch_tokens),
            f"{run.epochs:.2f}",
            f"{run.flops['6nd']:.3g}",
            str(len(run.unit.models)),
            duration(run.seconds),
            run.group,
            states.unit_status(run.unit),
        )
        for run in plan.runs
    ]
    return align(header, rows, right={2, 3, 4, 5, 6, 7})


def plan_summary(plan: Plan, tasks: Sequence[Task], slots: int, rates: str) -> str:
    """What the whole sweep is and costs."""
    unfinished = plan.unfinished()
    groups = len({run.group for run in plan.runs})
    lines = [
        f"sweep {plan.sweep_id}: {plan.models} models from {len(plan.runs)} runs of {groups} compiled shapes, "
        f"{sum(run.own_flops for run in plan.runs):.3g} FLOPs (6ND) in all",
        f"to do: {len(unfinished)} runs, {sum(run.own_flops for run in unfinished):.3g} FLOPs, in {len(tasks)} processes on {slots} "
        f"slots: about {duration(makespan(tasks, slots))} ({rates})",
    ]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in plan.warnings)])


def runs_table(directories: Sequence[RunDirectory]) -> str:
    """One row a run directory: size, tokens, held-out loss, seconds and status, all from files."""
    header = ("run", "kind", "what", "params", "tokens", "loss", "seconds", "status")
    rows = [_run_row(directory, directory.spec) for directory in directories]
    return align(header, rows, right={3, 4, 5, 6})


def counts(directories: Sequence[RunDirectory]) -> str:
    """How many finished models are in which state."""
    found = [directory.status() for directory in directories if directory.spec.kind != "trunk"]
    words = [f"{found.count(word)} {word}" for word in dict.fromkeys(found)]
    return f"{len(found)} models: {', '.join(words) or 'none'}"


def align(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """Columns of equal width, separated by two spaces; those in `right` are flush right."""
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def _run_row(directory: RunDirectory, spec: Spec) -> tuple[str, ...]:
    record: dict[str, Any] | None = directory.record()
    losses = record["losses"] if record else {}
    # Trunks and diverged runs have no held-out loss.
    loss = f"{losses[record['primary_domain']]['nats_per_token']:.4f}" if record and losses else ""
    return (
        spec.run_id[:8],
        spec.kind,
        f"{spec.name or '-'}{_tags(spec.tags)}",
        si(parameters.count_parameters(spec.config.model).total),
        si(spec.last_step * spec.config.batch_tokens),
        loss,
        f"{record['wall_seconds']:.0f}" if record else "",
        directory.status(),
    )


def _tags(tags: dict[str, str]) -> str:
    return f" [{', '.join(f'{name}={value}' for name, value in tags.items())}]" if tags else ""
