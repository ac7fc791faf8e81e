"""What a finished stage says of itself: `record.json`."""

from typing import TYPE_CHECKING, Any

from align.training.stage_directory import SCHEMA_VERSION, StageDirectory
from scaling import run_directory
from scaling.training import provenance

if TYPE_CHECKING:
    from align.training.loop import Session

# What the progress lines show of a measurement.
_SHOWN = ("kl", "gold", "proxy", "length", "ended", "validation_loss", "validation_accuracy")


def record(
    session: "Session", status: run_directory.Status, facts: dict[str, Any], reason: str, last_good_step: int
) -> dict[str, Any]:
    """The record of a stage that the loop took to its end; ARCHITECTURE.md documents every field.

    Args:
      session: of the attempt that finished it.
      status: "completed" or "diverged".
      facts: the stage's own fields; empty where it diverged.
      reason: why it diverged.
      last_good_step: steps taken; for a diverged stage, before the first that was not finite.
    """
    rows = session.directory.metrics()
    measured = [row for row in rows if row.keys() & {"policy", "held_out"}]
    last = measured[-1] if measured else {}
    final = {name: last[name] for name in ("policy", "held_out") if name in last}
    facts = {"final": final, **facts, **session.stage.work(last_good_step, rows).facts()}
    return of_directory(session.directory, status, facts, reason, last_good_step)


def of_directory(
    directory: StageDirectory, status: run_directory.Status, facts: dict[str, Any], reason: str = "", steps: int = 0
) -> dict[str, Any]:
    """The record of any stage: what its directory says, with the stage's own fields."""
    spec = directory.spec
    ends = [attempt.end for attempt in directory.attempts()]
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": spec.run_id,
        "kind": spec.kind,
        "name": spec.name,
        "status": status,
        "reason": reason,
        "last_good_step": steps,
        "parents": spec.parents,
        "data": spec.data,
        "config": spec.config,
        "seed": spec.config["training"]["seed"],
        "steps": steps,
        **facts,
        "wall_seconds": sum(end.get("wall_seconds", 0.0) for end in ends),
        "device_seconds": sum(end.get("device_seconds", 0.0) for end in ends),
        "attempts": len(ends),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "config_hash": spec.run_id,
        "command": spec.command,
        "created": run_directory.now(),
    }


def spelt(measured: dict[str, Any]) -> str:
    """A measurement in one line."""
    flat = {**measured.get("held_out", {}), **measured.get("policy", {})}
    shown = {name: flat[name] for name in _SHOWN if isinstance(flat.get(name), float)}
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items())
