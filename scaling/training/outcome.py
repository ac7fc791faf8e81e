"""What a finished run says of itself: `record.json`."""

import dataclasses
from typing import TYPE_CHECKING, Any

from scaling import gin_files, run_directory
from scaling.accounting import flops, measured, peak
from scaling.accounting.parameters import count_parameters
from scaling.run_config import RunConfig
from scaling.training import provenance
from scaling.training.evaluation import DomainLoss

if TYPE_CHECKING:
    from scaling.training.run import Session

# The training loss of a record is the mean over this last part of the run's steps.
_FINAL_FRACTION = 0.05


@dataclasses.dataclass(frozen=True)
class Utilisation:
    """Turns throughput into model FLOPs utilisation.

    Attributes:
      config: the run.
      peak_flops: FLOP/s of all devices in the compute dtype, or None where unknown.
    """

    config: RunConfig
    peak_flops: float | None

    @classmethod
    def of(cls, config: RunConfig) -> "Utilisation":
        """For a run on this process's devices; the peak of a CPU is measured once per process."""
        return cls(config, peak.peak_flops(config.compute_dtype))

    def mfu(self, tokens_per_second: float) -> float | None:
        """The fraction of the peak, or None where the peak is unknown."""
        if not self.peak_flops:
            return None
        config = self.config
        return flops.model_flops_utilisation(
            config.model, config.data.sequence_length, tokens_per_second, self.peak_flops
        )


def record(
    session: "Session", status: run_directory.Status, losses: dict[str, DomainLoss], reason: str, last_good_step: int
) -> dict[str, Any]:
    """The record of a run; ARCHITECTURE.md documents every field.

    Args:
      session: of the attempt that finished the run.
      status: "completed" or "diverged".
      losses: by domain; empty for trunks and diverged runs.
      reason: why it diverged.
      last_good_step: steps taken; for a diverged run, before the first that was not finite.
    """
    spec, config = session.spec, session.spec.config
    counts = count_parameters(config.model)
    tokens = last_good_step * config.batch_tokens
    return {
        "schema_version": run_directory.SCHEMA_VERSION,
        "run_id": spec.run_id,
        "sweep_id": spec.sweep_id,
        "name": spec.name,
        "kind": spec.kind,
        "status": status,
        "reason": reason,
        "last_good_step": last_good_step,
        "parent": dataclasses.asdict(spec.parent) if spec.parent else None,
        "seed": config.seed,
        "tags": spec.tags,
        "model": dataclasses.asdict(config.model),
        "parameters": dataclasses.asdict(counts),
        "losses": {name: dataclasses.asdict(loss) for name, loss in losses.items()},
        "primary_domain": next(iter(losses), None),
        "train_loss": _final_train_loss(session),
        "steps": last_good_step,
        "batch_size": config.batch_size,
        "batch_tokens": config.batch_tokens,
        "sequence_length": config.data.sequence_length,
        "learning_rate": config.schedule.peak,
        "schedule": dataclasses.asdict(config.schedule),
        "optimizer": dataclasses.asdict(config.optimizer),
        "compute_dtype": config.compute_dtype,
        **_data_facts(session, tokens),
        **_cost_facts(session, tokens),
        **_speed_facts(session),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "config_hash": spec.run_id,
        "command": spec.command,
        "created": run_directory.now(),
    }


def summary(record: dict[str, Any]) -> str:
    """The record in one line."""
    parameters = f"{record['parameters']['total']:,} parameters, {record['tokens']:,} tokens"
    if record["status"] != "completed":
        return f"{record['status']}: {parameters}; {record['reason']}"
    losses = ", ".join(f"{name} {loss['nats_per_token']:.4f}" for name, loss in record["losses"].items())
    return f"completed: {parameters}" + (f"; nats per token: {losses}" if losses else "")


def _data_facts(session: "Session", tokens: int) -> dict[str, Any]:
    split = session.store.split(session.spec.config.data.split)
    length = session.spec.config.data.sequence_length
    available = split.num_windows(length) * length
    return {
        "tokens": tokens,
        "unique_tokens": min(tokens, available),
        "epochs": tokens / available,
        "store_hash": session.spec.stores.train,
        "held_out_hashes": dict(
            zip((text.domain.name for text in session.texts), session.spec.stores.held_out, strict=True)
        ),
        "task": session.store.manifest["task"],
    }


def _cost_facts(session: "Session", tokens: int) -> dict[str, Any]:
    spec = session.spec
    per_token = flops.training_flops_per_token(spec.config.model, spec.config.data.sequence_length)
    per_token["xla_measured"] = measured.flops_per_token(session.train_step)
    # Nothing, for a branch whose trunk diverged before they part.
    own_tokens = max(0, tokens - spec.first_step * spec.config.batch_tokens)
    return {
        # As if the run had been trained alone, and what this directory added: a branch pays for its decay only.
        "flops": {name: _times(count, tokens) for name, count in per_token.items()},
        "own_flops": {name: _times(count, own_tokens) for name, count in per_token.items()},
    }


def _times(per_token: float | None, tokens: int) -> float | None:
    return None if per_token is None else per_token * tokens


def _speed_facts(session: "Session") -> dict[str, Any]:
    curve = session.curve
    ends = [attempt.end for attempt in session.directory.attempts()]
    return {
        "tokens_per_second": curve.tokens_per_second,
        "population": session.population,
        "mfu": {
            "value": session.utilisation.mfu(curve.tokens_per_device_second),
            "convention": flops.MFU_CONVENTION_TEXT,
            "peak_flops": session.utilisation.peak_flops,
        },
        # Attempts that were killed left no account of their time.
        "wall_seconds": sum(end.get("wall_seconds", 0.0) for end in ends),
        "device_seconds": sum(end.get("device_seconds", 0.0) for end in ends),
        "attempts": len(ends),
        "execution": gin_files.to_dict(session.spec.config.execution),
    }


def _final_train_loss(session: "Session") -> float | None:
    rows = [row for row in session.directory.metrics() if "loss" in row]
    start = rows[-1]["step"] * (1 - _FINAL_FRACTION) if rows else 0
    final = [row for row in rows if row["step"] > start]
    steps = sum(row["steps"] for row in final)
    return sum(row["loss"] * row["steps"] for row in final) / steps if steps else None
