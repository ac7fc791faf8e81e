"""The tables of `align.cost` (no JAX here)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from align.accounting import planned_work
from scaling.accounting import cost_tables
from scaling.accounting.parameters import count_parameters
from scaling.models.config import TransformerConfig


def formulas(kind: str, config: Any, model: TransformerConfig) -> dict[str, Any]:
    """Shape, parameters and FLOPs of a step."""
    return {
        "kind": kind,
        "model": dataclasses.asdict(model),
        "parameters": count_parameters(model).total,
        "batch_size": config.training.batch_size,
        "prompt_length": config.data.prompt_length,
        "completion_length": config.data.completion_length,
        "flops_per_step": planned_work.STEPS[kind](config, model).facts(),
    }


def cost_text(cost: Mapping[str, Any]) -> str:
    """What the verb prints."""
    model = cost["model"]
    lines = [
        f"{cost['kind']}: {model['family']} of {cost['parameters']:,} parameters, steps of {cost['batch_size']} with prompts of "
        f"{cost['prompt_length']} and completions of {cost['completion_length']} tokens"
    ]
    for field, counts in cost["flops_per_step"].items():
        if any(counts.values()):
            lines += cost_tables.table(f"{field} of a step", {name: f"{value:.4g}" for name, value in counts.items()})
    if "bytes_per_device" in cost:
        uses = dict(cost["bytes_per_device"])
        programs = uses.pop("programs")
        parts = {name: uses.pop(name) for name in ("logits", "key_value_cache") if name in uses}
        lines += _sizes("bytes per device", uses)
        lines += _sizes("of these, temporaries by program", programs)
        lines += _sizes("and among these, by formula", parts)
    if "time" in cost:
        lines += _times(cost["time"])
    return "\n".join(lines)


def _sizes(title: str, sizes: Mapping[str, int]) -> list[str]:
    return cost_tables.table(title, {name: cost_tables.size(size) for name, size in sizes.items()})


def _times(time: Mapping[str, Any]) -> list[str]:
    seconds = {f"  {name}": f"{value:.3g} s" for name, value in time["seconds"].items()}
    rows = {"a step": f"{time['seconds_per_step']:.3g} s"} | (seconds if len(seconds) > 1 else {})
    if "preparation_seconds_per_batch" in time:
        rows["the cached reference, once a batch"] = f"{time['preparation_seconds_per_batch']:.3g} s"
    title = f"expected time on {time['devices']} x {time['accelerator']}, MFU {time['utilisation']:.0%} ({time['convention']})"
    return cost_tables.table(title, rows)
