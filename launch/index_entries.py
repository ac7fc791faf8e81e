"""One row of the index: what the files of a run directory of either stage say in a few columns."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from launch import run_folders, states
from scaling.run_directory import RunDirectory

# The word for a directory whose files cannot be read; all other states are those of runs.
UNREADABLE = "unreadable"


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the index says of a run.

    Attributes:
      path: of its directory, relative to the root.
      stamp: see :func:`launch.run_folders.stamp`.
      run_id, name, kind: as its specification says; `kind` is "pretrain", "trunk", "branch" or that of a stage ("sft", "ppo", ...).
      sweep_id, tags: of stage one.
      status: what its files say without a look at the lock, so a run that is being trained is "interrupted" or "new" here; or "unreadable".
      reason: why it diverged, failed or cannot be read.
      attempts: processes that have worked on it.
      step: the last step of its curve, or of its record.
      seed: of the run.
      parameters: in all; known of recorded runs.
      tokens: of the record; before it, the horizon; 0 for stages.
      flops: 6ND, of what this directory added; 0 where unknown.
      loss: held-out, of the primary domain, in nats per token; None for stages, trunks and unfinished runs.
      wall_seconds, device_seconds: of the record.
      git_commit, created: of the record.
      parents: role -> run id or identity; a branch's trunk has the role "trunk".
      data: role -> content hash.
    """

    path: str
    stamp: str
    run_id: str
    name: str = ""
    kind: str = ""
    sweep_id: str = ""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    status: str = UNREADABLE
    reason: str = ""
    attempts: int = 0
    step: int = 0
    seed: int = 0
    parameters: int = 0
    tokens: int = 0
    flops: float = 0.0
    loss: float | None = None
    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    git_commit: str = ""
    created: str = ""
    parents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)


def entry_of(root: str, path: str, stamp: str) -> Entry:
    """Reads a run directory; one that cannot be read becomes an entry that says so, since it must not hide ten thousand others."""
    full = os.path.join(root, path)
    try:
        return Entry(path=path, stamp=stamp, **_facts(full))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Entry(path=path, stamp=stamp, run_id=os.path.basename(path), reason=said)


def _facts(path: str) -> dict[str, Any]:
    is_stage = not os.path.exists(os.path.join(path, run_folders.SPEC))
    spec = _json(os.path.join(path, run_folders.STAGE if is_stage else run_folders.SPEC))
    facts = _facts_of_stage(spec) if is_stage else _facts_of_run(spec)
    if os.path.exists(os.path.join(path, run_folders.RECORD)):
        return facts | _facts_of_record(_json(os.path.join(path, run_folders.RECORD)))
    return facts | _facts_of_attempts(path)


def _facts_of_run(spec: Mapping[str, Any]) -> dict[str, Any]:
    held_out = zip(spec["config"]["evaluation"]["domains"], spec["stores"]["held_out"], strict=True)
    return {
        **{name: spec[name] for name in ("run_id", "name", "kind", "sweep_id", "tags")},
        "seed": spec["config"]["seed"],
        "tokens": spec["config"]["tokens"],
        "parents": {"trunk": spec["parent"]["run_id"]} if spec["parent"] else {},
        "data": {"train": spec["stores"]["train"], **{domain["name"]: content for domain, content in held_out}},
    }


def _facts_of_stage(spec: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: spec[name] for name in ("run_id", "name", "kind", "parents", "data")}
    return facts | {"seed": spec["config"]["training"]["seed"]}


def _facts_of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    losses, domain = record.get("losses") or {}, record.get("primary_domain")
    # Branches and stages that the record says nothing of keep what their specification says.
    renewed = {name: record[name] for name in ("name", "sweep_id", "tags", "tokens") if name in record}
    return renewed | {
        "status": record["status"],
        "reason": record.get("reason", ""),
        "attempts": record.get("attempts", 0),
        "step": record.get("last_good_step", 0),
        "parameters": _total(record.get("parameters")),
        "flops": float((record.get("own_flops") or {}).get("6nd") or 0.0),
        "loss": losses[domain]["nats_per_token"] if domain in losses else None,
        "wall_seconds": float(record.get("wall_seconds", 0.0)),
        "device_seconds": float(record.get("device_seconds", 0.0)),
        "git_commit": record.get("git_commit", ""),
        "created": record.get("created", ""),
    }


def _total(parameters: Mapping[str, Any] | None) -> int:
    return int(parameters["total"]) if parameters else 0


def _facts_of_attempts(path: str) -> dict[str, Any]:
    attempts = RunDirectory(path).attempts()
    if not attempts:
        return {"status": "new"}
    end = attempts[-1].end
    status = end.get("status", "interrupted")
    return {
        # An end without a record: the process was killed between the two, and the record is what counts.
        "status": "interrupted" if status in states.FINISHED else status,
        "reason": end.get("reason", ""),
        "attempts": len(attempts),
        "step": states.last_step(attempts[-1].path / "metrics.jsonl") or attempts[-1].first_step or 0,
    }


def _json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf8") as handle:
        return json.load(handle)
