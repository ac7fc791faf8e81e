"""Synthetic ladders: record.json trees in the format of the runs directory, drawn from a law that is known."""

import dataclasses
import json
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class KnownLaw:
    """L = E + A/N^alpha + B/D^beta, in nats per token."""

    E: float = 1.9
    A: float = 60.0
    B: float = 2000.0
    alpha: float = 0.42
    beta: float = 0.58

    def loss(self, params, tokens):
        return self.E + self.A / params**self.alpha + self.B / tokens**self.beta


# A tiny study: vocabulary embeddings dominate, seven sizes, five budgets each from a trunk with branches.
WIDTHS = (8, 16, 24, 32, 48, 64, 96)
DEPTHS = (1, 2, 2, 3, 3, 4, 5)
VOCABULARY = 512


def parameters(width: int, depth: int) -> tuple[int, int]:
    """Total and non-embedding parameters of a small decoder."""
    non_embedding = 12 * depth * width * width + 2 * width
    return non_embedding + 2 * VOCABULARY * width, non_embedding


def record(
    run_id: str, width: int, depth: int, tokens: float, loss: float | None, *, kind="branch", parent=None, seed=0, role="fit",
    status="completed", reason=None,
) -> dict:  # fmt: skip
    """One record, in the fields that the analysis reads."""
    total, non_embedding = parameters(width, depth)
    head = 6 * VOCABULARY * width * tokens
    attention = 12 * depth * width * 128 * tokens
    losses = {} if loss is None else {
        "validation": {
            "nats_per_token": loss, "standard_error": 0.004, "bits_per_byte": loss / 1.43, "bits_per_byte_standard_error": 0.003,
            "tokens": 50000, "bytes": 103000, "documents": 20,
        },
    }  # fmt: skip
    return {
        "schema_version": 1, "run_id": run_id, "sweep_id": "synthetic", "name": f"w{width}", "kind": kind, "status": status,
        "reason": reason, "parent": None if parent is None else {"run_id": parent, "step": 10}, "seed": seed,
        "tags": {"role": role}, "model": {"family": "llama", "width": width, "depth": depth, "heads": 2},
        "parameters": {"total": total, "non_embedding": non_embedding, "by_part": {}}, "tokens": tokens,
        "unique_tokens": tokens, "epochs": 1.0, "steps": 100, "batch_tokens": 2048,
        "flops": {
            "kaplan_6nd_non_embedding": 6 * non_embedding * tokens, "6nd": 6 * total * tokens,
            "6nd_head": 6 * non_embedding * tokens + head, "6nd_head_attention": 6 * non_embedding * tokens + head + attention,
            "chinchilla_appendix_f": 6.1 * total * tokens + attention, "xla_measured": None,
        },
        "own_flops": {}, "train_loss": loss, "losses": losses, "primary_domain": "validation", "learning_rate": 0.004,
        "schedule": "warmup_stable_decay", "batch_size": 16, "tokens_per_second": 1e5,
        "mfu": {"value": 0.3, "convention": "6nd", "peak_flops": 2e11}, "device": {}, "wall_seconds": 1.0, "device_seconds": 1.0,
        "versions": {}, "git_commit": "0" * 40, "config_hash": "c" * 8, "store_hash": "s" * 8, "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def ladder(
    seed: int = 0, noise: float = 0.005, between: float = 0.5, law: KnownLaw = KnownLaw(), held_out_factor: float = 4.0,
    budgets: int = 5,
) -> list[dict]:  # fmt: skip
    """Seven sizes, `budgets` token budgets each from one trunk, two points with two more seeds, one run held out.

    Args:
      seed: of the noise.
      noise: standard deviation of ln L.
      between: share of the noise's variance that the branches of a trunk have in common.
      law: the truth.
      held_out_factor: compute of the held-out run over the largest in the fit.
      budgets: token budgets a size.
    """
    rng = np.random.default_rng(seed)
    records = []

    def trunk(name, width, depth, tokens_list, number):
        shared = noise * np.sqrt(between) * rng.standard_normal()
        records.append(record(name, width, depth, max(tokens_list), 9.9, kind="trunk", seed=number))
        for tokens in tokens_list:
            own = noise * np.sqrt(1 - between) * rng.standard_normal()
            loss = float(law.loss(parameters(width, depth)[0], tokens) * np.exp(shared + own))
            records.append(record(f"{name}-{tokens}", width, depth, tokens, loss, parent=name, seed=number))

    for index, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        total, _ = parameters(width, depth)
        base = 150_000 * 2 ** (index / 2)
        tokens_list = [int(base * 2.2**step) for step in range(budgets)]
        trunk(f"s{index}", width, depth, tokens_list, 0)
        if index in (2, 4):
            for number in (1, 2):
                trunk(f"s{index}r{number}", width, depth, tokens_list[2:3], number)
    largest = max(item["flops"]["6nd"] for item in records)
    width, depth = 128, 6
    tokens = held_out_factor * largest / (6 * parameters(width, depth)[0])
    loss = float(law.loss(parameters(width, depth)[0], tokens) * np.exp(noise * rng.standard_normal()))
    records.append(record("held-out", width, depth, int(tokens), loss, kind="pretrain", role="held_out"))
    return records


def write(root: pathlib.Path, records: list[dict]) -> pathlib.Path:
    """Writes each record into its run directory, two levels deep."""
    for item in records:
        directory = root / item["sweep_id"] / item["run_id"]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "record.json").write_text(json.dumps(item))
    return root
