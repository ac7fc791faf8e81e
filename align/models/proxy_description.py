"""What a proxy reward was made of, for the records of policies that were optimised against it."""

import json
from typing import Any

from align.models.parents import ParentConfig, find
from align.models.reward_models import RewardModelsConfig


def describe(config: RewardModelsConfig) -> dict[str, Any] | None:
    """The axes along which Gao et al. 2022 and Coste et al. 2024 vary a proxy; None where there is none.

    Returns:
      `params` (of one member), `comparisons` (that each was trained on), `label_noise` (the share of them that contradict the gold score, null where it is not
      known), `accuracy` (mean over members, on held-out pairs, null where there were none), `members`, `combine`.

    Raises:
      CheckpointError: a member is missing or not finished.
    """
    if not config.members:
        return None
    records = [json.loads((find(ParentConfig(path)).path / "record.json").read_text()) for path in config.members]
    held_out = [(record.get("final") or {}).get("held_out") for record in records]
    accuracies = [found["validation_accuracy"] for found in held_out if found]
    first = records[0]
    return {
        "params": first["parameters"]["total"],
        "comparisons": first["settings"]["examples"],
        "label_noise": first.get("label_noise"),
        "accuracy": sum(accuracies) / len(accuracies) if accuracies else None,
        "members": len(records),
        "combine": config.combine,
    }
