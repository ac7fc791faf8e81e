"""Tables of plans and of runs, as text."""

import collections
import shlex
from collections.abc import Mapping, Sequence

from launch import states
from launch.engines.engine import Submission
from launch.listing import ListedRun
from launch.plan import Plan
from launch.reports import Report
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


def jobs_table(submission: Submission) -> str:
    """One row a job, in the order in which they start."""
    header = ("job", "runs", "FLOPs (6ND)", "predicted", "memory")
    rows = [
        (job.name, str(len(job.run_ids)), f"{job.flops:.3g}", duration(job.seconds), f"{si(job.memory_bytes)}B")
        for job in submission.jobs
    ]
    return align(header, rows, right={1, 2, 3, 4})


def plan_summary(plan: Plan, submission: Submission, slots: int, rates: str) -> str:
    """What the whole sweep is, and what is to do and what it costs on its engine."""
    groups = len({run.group for run in plan.runs})
    runs = sum(len(job.run_ids) for job in submission.jobs)
    cost = "" if submission.cost is None else f", cost about {submission.cost:.2f}"
    lines = [
        f"sweep {plan.sweep_id}: {plan.models} models from {len(plan.runs)} runs of {groups} compiled shapes, "
        f"{sum(run.own_flops for run in plan.runs):.3g} FLOPs (6ND) in all",
        f"to do: {runs} runs, {sum(job.flops for job in submission.jobs):.3g} FLOPs, in {len(submission.jobs)} processes on {slots} "
        f"slots of the engine {submission.engine}: about {duration(submission.seconds)}{cost} ({rates})",
    ]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in plan.warnings)])


def submission_text(submission: Submission) -> str:
    """The files that would be written and the commands that would be executed."""
    files = [f"--- {path}\n{text.rstrip()}\n---" for path, text in submission.files.items()]
    return "\n".join([*files, *(f"$ {shlex.join(command)}" for command in submission.commands)])


def runs_table(runs: Sequence[ListedRun]) -> str:
    """One row a run directory: size, tokens, held-out loss, seconds and status, all from files."""
    header = ("run", "kind", "what", "params", "tokens", "loss", "seconds", "status")
    return align(header, [_run_row(run) for run in runs], right={3, 4, 5, 6})


def counts(runs: Sequence[ListedRun]) -> str:
    """How many finished models are in which state."""
    found = collections.Counter(run.status for run in runs if run.kind != "trunk")
    words = [f"{count} {word}" for word, count in found.items()]
    return f"{found.total()} models: {', '.join(words) or 'none'}"


def workers_lines(found: Sequence[Report]) -> str:
    """One line a worker of a sweep: what it last said, and each run that it gave up."""
    lines = []
    for report in found:
        state = "interrupted" if report.interrupted else "ended" if report.ended else "working, or killed"
        lines.append(
            f"worker {report.worker}: {state}, {report.snapshot.crashes} crashes, last report {report.written}"
        )
        lines += [
            f"failed: {run_id}: {failure.reason} (log: {failure.log})" for run_id, failure in report.failures.items()
        ]
    return "\n".join(lines)


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


def _run_row(run: ListedRun) -> tuple[str, ...]:
    return (
        run.run_id[:8],
        run.kind,
        f"{run.name or '-'}{_tags(run.tags)}",
        si(run.parameters),
        si(run.tokens),
        "" if run.loss is None else f"{run.loss:.4f}",
        "" if run.wall_seconds is None else f"{run.wall_seconds:.0f}",
        run.state,
    )


def _tags(tags: Mapping[str, str]) -> str:
    return f" [{', '.join(f'{name}={value}' for name, value in tags.items())}]" if tags else ""
