"""The cost of a run by formula, and the tables of `scaling.cost` (no JAX here)."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scaling.accounting.flops import training_flops_per_token
from scaling.accounting.parameters import count_parameters
from scaling.models import ladder
from scaling.models.config import TransformerConfig
from scaling.run_config import RunConfig

# The vocabulary with which the ladder's table is printed: GPT-2's order of magnitude would swamp the small rungs, bytes would flatter them.
LADDER_VOCABULARY = 512
LADDER_DECADES = range(4, 11)
FAMILIES: dict[str, Callable[..., TransformerConfig]] = {
    "llama": ladder.llama,
    "kaplan_gpt": ladder.kaplan_gpt,
    "neox": ladder.neox,
}


def formulas(config: RunConfig) -> dict[str, Any]:
    """Shape, parameters and FLOPs of a run."""
    model, length = config.model, config.data.sequence_length
    per_token = training_flops_per_token(model, length)
    return {
        "model": dataclasses.asdict(model),
        "sequence_length": length,
        "batch_size": config.batch_size,
        "tokens": config.tokens,
        "steps": config.steps,
        "parameters": dataclasses.asdict(count_parameters(model)),
        "flops_per_token": per_token,
        "flops": {name: value * config.tokens for name, value in per_token.items()},
    }


def ladder_rungs() -> list[dict[str, Any]]:
    """For every family, the width whose parameter count is nearest (in ratio) to each power of ten, with a vocabulary of 512."""
    return [_rung(family, 10**decade) for family in FAMILIES for decade in LADDER_DECADES]


def ladder_text(rungs: Sequence[Mapping[str, Any]]) -> str:
    """The rungs as a table."""
    names = ("family", "target", "width", "depth", "heads", "head_dim", "mlp_dim", "total", "non_embedding")
    rows = [names] + [tuple(_count(rung[name]) for name in names) for rung in rungs]
    return "\n".join("  ".join(cell.rjust(14) for cell in row) for row in rows)


def cost_text(cost: Mapping[str, Any]) -> str:
    """The tables that the verb prints."""
    model = cost["model"]
    lines = [
        f"{model['family']}: width {model['width']}, depth {model['depth']}, heads {model['heads']} ({model['kv_heads']} for keys), "
        f"mlp {model['mlp_dim']}, vocabulary {model['vocab_size']}",
        f"{cost['tokens']:,} tokens in {cost['steps']:,} steps of {cost['batch_size']} x {cost['sequence_length']}",
    ]
    parameters = cost["parameters"]
    counts = parameters["by_part"] | {"total": parameters["total"], "non-embedding": parameters["non_embedding"]}
    lines += table("parameters", {name: f"{count:,}" for name, count in counts.items()})
    flops = {
        name: f"{value:.4g} a token, {cost['flops'][name]:.4g} in all"
        for name, value in cost["flops_per_token"].items()
    }
    lines += table("training FLOPs by convention", flops)
    if "bytes_per_device" in cost:
        lines += table("bytes per device", {name: size(count) for name, count in cost["bytes_per_device"].items()})
    if "exported_bytes" in cost:
        lines += table("exported step", {name: size(count) for name, count in cost["exported_bytes"].items()})
    if "time" in cost:
        time = cost["time"]
        lines += table(
            f"expected time on {time['devices']} x {time['accelerator']}, MFU {time['utilisation']:.0%} ({time['convention']})",
            {"a step": f"{time['seconds_per_step']:.3g} s", "the run": f"{time['hours']:.3g} h"},
        )
    return "\n".join(lines)


def _rung(family: str, target: int) -> dict[str, Any]:
    def config_of(width: int) -> TransformerConfig:
        return FAMILIES[family](width, LADDER_VOCABULARY)

    widths = (width for width in range(8, 8193, 8) if width % ladder.head_dim_of(width) == 0)
    width = min(widths, key=lambda width: abs(math.log(count_parameters(config_of(width)).total / target)))
    config = config_of(width)
    counts = count_parameters(config)
    shape = {name: getattr(config, name) for name in ("width", "depth", "heads", "head_dim", "mlp_dim")}
    return {"family": family, "target": target, **shape, "total": counts.total, "non_embedding": counts.non_embedding}


def table(title: str, rows: Mapping[str, str]) -> list[str]:
    """Lines of a titled table of two columns, behind an empty one."""
    widest = max(map(len, rows))
    return ["", title] + [f"  {name.ljust(widest)}  {value}" for name, value in rows.items()]


def size(count: int) -> str:
    """Bytes, exact and in a readable unit."""
    return f"{count:,} ({count / 2**30:.2f} GiB)" if count >= 2**28 else f"{count:,} ({count / 2**20:.2f} MiB)"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
