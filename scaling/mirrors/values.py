"""From rows and configurations, which are nested, to the flat names and values that services take."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

# Of a row: where it stands, not what was measured there.
POSITIONS = frozenset({"step", "wall_seconds"})


def of_row(row: Mapping[str, Any]) -> dict[str, float]:
    """What was measured at a row of `metrics.jsonl`; see :func:`numbers`."""
    return numbers({name: value for name, value in row.items() if name not in POSITIONS})


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among nested values, named by their path: `loss`, `held_out/speeches`, `policy/kl`. Lists and texts are left out."""
    return {
        name: float(value)
        for name, value in _leaves(values, "/")
        if isinstance(value, int | float) and math.isfinite(value)
    }


# Fields of a record, of either stage.
_RESULTS = (
    "losses",
    "train_loss",
    "tokens",
    "flops",
    "own_flops",
    "tokens_per_second",
    "wall_seconds",
    "device_seconds",
    "final",
    "train_accuracy",
)


def results(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that are results of either stage, still nested; of none, none."""
    found = {name: record[name] for name in _RESULTS if record.get(name) is not None}
    return found | {"parameters": (record.get("parameters") or {}).get("total")}


def settings(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """A configuration's leaves, named by their path: `model.width`. Lists become JSON; what is not set (None) is left out."""
    return {
        name: json.dumps(value) if isinstance(value, list | tuple | dict) else value
        for name, value in _leaves(config, ".")
        if value is not None
    }


def _leaves(values: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value
