"""Recorded runs of which is known whether an alarm would be right: the laboratory's PPO on the gold score itself, and on proxies."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from scaling.errors import DataError

# Standard errors by which the gold score must have fallen from its best; the best is the largest of many, so it is too high by one or two.
_FALL = 3.0


class RecordedRun(NamedTuple):
    """One run.

    Attributes:
      name: as recorded.
      state: "healthy" where the gold score itself was the reward, so that nothing could be over-optimised; "spoilt" where a proxy was and the gold score ended
        clearly below its best; "unclear" otherwise: a proxy whose peak was not passed.
      rows: of measurements.jsonl.
    """

    name: str
    state: Literal["healthy", "spoilt", "unclear"]
    rows: list[dict[str, Any]]


def read(root: str) -> list[RecordedRun]:
    """Every finished run of PPO, RLOO or GRPO below a directory.

    Raises:
      DataError: there is none.
    """
    found = []
    for path in sorted(pathlib.Path(root).glob("*/record.json")):
        record = json.loads(path.read_text())
        measured = path.with_name("measurements.jsonl")
        if record.get("kind") == "ppo" and record["status"] == "completed" and measured.is_file():
            rows = [json.loads(line) for line in measured.read_text().splitlines()]
            found.append(RecordedRun(record["name"], _state(record, rows), rows))
    if not found:
        raise DataError(
            f"{root} holds no finished run of PPO", "name the root of a laboratory or a study with PPO in it"
        )
    return found


def _state(record: Mapping[str, Any], rows: list[dict[str, Any]]) -> Literal["healthy", "spoilt", "unclear"]:
    if record["method"].endswith(" on gold"):
        return "healthy"
    gold_T, error_T = (np.array([row[name] for row in rows], np.float64) for name in ("gold", "gold_error"))
    best = int(np.argmax(gold_T))
    fall = gold_T[best] - gold_T[-2:].mean()
    return "spoilt" if fall > _FALL * np.hypot(error_T[best], error_T[-2:].mean()) else "unclear"
