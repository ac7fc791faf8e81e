"""Real run directories of runs that nobody trained: the files that a trainer leaves, with a curve and losses from a known law."""

import json
import math

from scaling import gin_files
from scaling.accounting import flops
from scaling.accounting.parameters import count_parameters
from scaling.run_directory import RunDirectory, Spec, Status

VERSIONS = {"python": "3.11.7", "jax": "0.10.2", "plumbline": "0.1.0"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def simulated_loss(parameters: int, tokens: float) -> float:
    """Nats per token by a law of the demo's size, so that what is exported differs between runs."""
    return 2.0 + 40.0 / parameters**0.5 + 60.0 / (tokens + 1.0) ** 0.5


def start(directory: RunDirectory, first_step: int = 0):
    """Begins an attempt as a trainer would."""
    facts = {"first_step": first_step, "host": "simulated", "git_commit": COMMIT, "versions": VERSIONS}
    return directory.start_attempt({**facts, "device": {"platform": "cpu", "kind": "simulated", "count": 1}})


def write_curve(directory: RunDirectory, attempt, first_step: int, last_step: int, rows: int = 20) -> None:
    """Appends rows of steps first_step + 1 .. last_step to the attempt's curve, the last with a held-out loss."""
    spec = directory.spec
    parameters = count_parameters(spec.config.model).total
    steps = sorted({first_step + math.ceil((last_step - first_step) * i / rows) for i in range(1, rows + 1)})
    with (attempt.path / "metrics.jsonl").open("a") as handle:
        for i, step in enumerate(steps):
            tokens = step * spec.config.batch_tokens
            row = {"step": step, "tokens": tokens, "loss": simulated_loss(parameters, tokens), "steps": 1}
            row |= {"gradient_norm": 1.0, "learning_rate": 1e-3, "tokens_per_second": 1e4, "wall_seconds": 0.1 * i}
            handle.write(json.dumps(row) + "\n")
        handle.write(
            json.dumps({"step": last_step, "held_out": {"speeches": simulated_loss(parameters, tokens)}}) + "\n"
        )


def finish(directory: RunDirectory, status: Status = "completed", rows: int = 20) -> None:
    """One attempt from the run's own beginning to its record."""
    spec = directory.spec
    with directory.lock():
        attempt = start(directory, spec.first_step)
        if status == "completed":
            write_curve(directory, attempt, spec.first_step, spec.last_step, rows)
        attempt.finish(status, reason="" if status == "completed" else "loss nan", wall_seconds=2.0, device_seconds=1.5)
        directory.write_record(record(spec, status))


def record(spec: Spec, status: Status) -> dict:
    """A record with the fields of ARCHITECTURE.md that launchers and the laws read."""
    config, counts = spec.config, count_parameters(spec.config.model)
    per_token = flops.training_flops_per_token(config.model, config.data.sequence_length)
    tokens = spec.last_step * config.batch_tokens
    own = (spec.last_step - spec.first_step) * config.batch_tokens
    nats = simulated_loss(counts.total, tokens)
    losses = {"speeches": {"nats_per_token": nats, "standard_error": 0.01}} if spec.kind != "trunk" else {}
    return {
        **{name: getattr(spec, name) for name in ("run_id", "sweep_id", "name", "kind", "tags", "command")},
        **{"schema_version": 1, "status": status, "reason": "" if status == "completed" else "loss nan"},
        "parent": {"run_id": spec.parent.run_id, "step": spec.parent.step} if spec.parent else None,
        "last_good_step": spec.last_step,
        "steps": spec.last_step,
        "seed": config.seed,
        "model": gin_files.to_dict(config.model),
        "parameters": {"total": counts.total, "non_embedding": counts.non_embedding, "by_part": {}},
        "losses": losses if status == "completed" else {},
        "primary_domain": "speeches" if losses and status == "completed" else None,
        "train_loss": nats,
        **{"tokens": tokens, "unique_tokens": tokens, "epochs": 1.0, "batch_tokens": config.batch_tokens},
        "flops": {name: value * tokens for name, value in per_token.items()},
        "own_flops": {name: value * own for name, value in per_token.items()},
        **{"learning_rate": config.schedule.peak, "schedule": gin_files.to_dict(config.schedule)},
        **{"wall_seconds": 2.0, "device_seconds": 1.5, "attempts": 1, "tokens_per_second": 1e4},
        "device": {"platform": "cpu", "kind": "simulated", "count": 1},
        **{"store_hash": spec.stores.train, "versions": VERSIONS, "git_commit": COMMIT},
        "created": "2026-01-01T00:00:00+00:00",
    }
