"""Writes run directories of alignment (record.json, measurements.jsonl) from reward-KL curves that are known."""

import json
import math
import pathlib

import numpy as np

GOLD = "lexicon"


def write(
    root: pathlib.Path, method: str, settings: dict, seed: int, rows: list[dict], *, params: int = 100_000, kind: str = "preference",
    gold: str = GOLD, status: str = "completed", run_id: str | None = None, **fields,
) -> pathlib.Path:  # fmt: skip
    """One run directory in the fields that the analysis reads; `fields` replace or add to the record's."""
    name = "-".join(
        [method.replace(" ", "_"), *(f"{key}{value}" for key, value in settings.items()), f"s{seed}", str(params)]
    )
    directory = root / (run_id or name)
    directory.mkdir(parents=True)
    record = {
        "schema_version": 1, "run_id": run_id or name, "kind": kind, "name": name, "method": method, "settings": settings, "seed": seed,
        "parents": {"policy": "sft-run", "reference": "sft-run", "reward": "reward-run"}, "gold": gold, "status": status, "reason": "",
        "parameters": {"total": params, "non_embedding": params // 2}, "model": {"width": 32}, "flops": {"6nd": 1e12}, "versions": {},
        "git_commit": "0" * 40, "created": "2026-01-01T00:00:00Z", **fields,
    }  # fmt: skip
    (directory / "record.json").write_text(json.dumps(record))
    (directory / "measurements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def row(step: int, kl: float, gold: float, **fields) -> dict:
    """A row of measurements.jsonl."""
    return {
        "step": step, "n": None, "kl": kl, "kl_error": 0.02 * kl + 0.001, "kl_k3": kl, "kl_exact": None, "gold": gold, "gold_error": 0.02,
        "proxy": gold + 0.3 * math.sqrt(max(kl, 0.0)), "proxy_error": 0.02, "entropy": 2.0, "length": 20.0, "ended": 0.9, "prompts": 64,
        "samples": 256, **fields,
    }  # fmt: skip


def curve(
    alpha: float,
    beta: float,
    furthest: float,
    rng: np.random.Generator,
    noise: float = 0.02,
    points: int = 7,
    start: float = 0.5,
) -> list[dict]:
    """Measurements of one run on R(d) = d (alpha - beta ln d), from step 0, where nothing has moved."""
    kl_K = furthest * np.geomspace(0.02, 1.0, points)
    gold_K = np.sqrt(kl_K) * (alpha - beta * np.log(np.sqrt(kl_K))) + noise * rng.standard_normal(points)
    rows = [
        row(10 * (step + 1), float(kl), float(start + gold))
        for step, (kl, gold) in enumerate(zip(kl_K, gold_K, strict=True))
    ]
    return [row(0, 0.0, start), *rows]


def best_of_n(
    alpha: float, beta: float, rng: np.random.Generator, noise: float = 0.02, start: float = 0.5, n_max: int = 128
) -> list[dict]:
    """Measurements of best-of-n on R(d) = d (alpha - beta d), n = 1, 2, 4, ..."""
    rows = []
    for n in 2 ** np.arange(int(math.log2(n_max)) + 1):
        kl = math.log(n) - (n - 1) / n
        gold = (
            start + math.sqrt(kl) * (alpha - beta * math.sqrt(kl)) + (noise * rng.standard_normal() if n > 1 else 0.0)
        )
        rows.append(row(0, kl, gold, n=int(n), kl_exact=None))
    return rows


def write_study(root: pathlib.Path, seeds: int = 4, sizes: tuple[int, ...] = (100_000,)) -> pathlib.Path:
    """PPO at two penalties, DPO at two betas, best-of-n; DPO is better than PPO by far, best-of-n moves little. Gains grow with the logarithm of the size."""
    rng = np.random.default_rng(0)
    for params in sizes:
        gain = 1.0 + 0.15 * math.log(params / 100_000)
        for seed in range(seeds):
            for beta, furthest in ((0.1, 8.0), (0.02, 40.0)):
                own = gain * (1 + 0.02 * rng.standard_normal())
                write(root, "dpo sigmoid", {"beta": beta}, seed, curve(1.0 * own, 0.35, furthest, rng), params=params)
                write(
                    root,
                    "ppo",
                    {"kl_coefficient": beta},
                    seed,
                    curve(0.7 * own, 0.3, furthest, rng),
                    params=params,
                    kind="ppo",
                )
            write(root, "best_of_n", {}, seed, best_of_n(1.0 * gain, 0.2, rng), params=params, kind="best_of_n")
            write(root, "sft", {}, seed, [row(0, 0.0, 0.5)], params=params, kind="sft")
    return root
