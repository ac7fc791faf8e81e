"""Where a run comes from: `python -m launch.lineage --run=DIR`, or --run=ID with --root.

Its parents, through alignment back to pretraining, each with its data, its code, its machine and the hash of its configuration. Parents are looked for by
identity under the roots, so directories may have been moved since.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from launch import index
from launch.index_entries import Entry
from scaling import verbs
from scaling.errors import ConfigError, DataError

_RUN = flags.DEFINE_string("run", None, "A run directory of either stage, or a run id under a --root; needed.")
_ROOTS = flags.DEFINE_multi_string(
    "root", ["runs"], "Directories under which parents are looked for, beside the run's own; repeatable."
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of text.")


@dataclasses.dataclass(frozen=True)
class Ancestor:
    """A run, and what it was made from.

    Attributes:
      identity: its run id, or the hash of an imported model's files.
      path: its directory; empty where it was not found under the roots.
      entry: of the index; None where it was not found.
      start: what its last attempt said when it began: code, machine, device, versions.
      patch: path of that attempt's `code.patch`; empty where its checkout was clean.
      parents: (role, ancestor), by role.
    """

    identity: str
    path: str = ""
    entry: Entry | None = None
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patch: str = ""
    parents: tuple[tuple[str, "Ancestor"], ...] = ()


def lineage(run: str, roots: Sequence[str]) -> Ancestor:
    """The ancestors of a run.

    Args:
      run: its directory, or its run id.
      roots: directories under which parents are looked for; the one that holds `run` is looked at in any case, and those that do not exist are not.

    Raises:
      DataError: there is no such run, or a run is its own ancestor.
      ConfigError, OutputError: see :func:`launch.index.entries`.
    """
    own = [os.path.dirname(os.path.abspath(run))] if os.path.isdir(run) else []
    existing = [root for root in roots if os.path.isdir(root)]
    found = {entry.run_id: (root, entry) for root in [*existing, *own] for entry in index.entries(root)}
    identity = os.path.basename(os.path.abspath(run))
    if identity not in found:
        raise DataError(
            f"there is no run {run} under {', '.join([*existing, *own]) or 'the roots'}",
            "give its directory, or its id and --root",
        )
    return _ancestor(identity, found, ())


def text(ancestor: Ancestor) -> str:
    """A tree, one run a paragraph; a run that is a parent in several roles is described once."""
    return "\n".join(_lines(ancestor, [], 0, set()))


def as_json(ancestor: Ancestor) -> dict[str, Any]:
    """The same as nested JSON values."""
    described = {
        "identity": ancestor.identity,
        "path": ancestor.path,
        "start": dict(ancestor.start),
        "patch": ancestor.patch,
    }
    if ancestor.entry is not None:
        described["entry"] = dataclasses.asdict(ancestor.entry)
    return described | {"parents": [{"role": role, **as_json(parent)} for role, parent in ancestor.parents]}


def main(argv: Sequence[str]) -> None:
    """Prints the lineage."""
    del argv
    if not _RUN.value:
        raise ConfigError("--run is missing", "give a run directory, or a run id under a --root")
    for root in _ROOTS.value:
        if not os.path.isdir(root) and not os.path.isdir(_RUN.value):
            raise ConfigError(
                f"the root {root} is not a directory", "name the directories that hold the runs by --root"
            )
    found = lineage(_RUN.value, _ROOTS.value)
    print(json.dumps(as_json(found), indent=1) if _JSON.value else text(found))


def _ancestor(identity: str, found: Mapping[str, tuple[str, Entry]], below: tuple[str, ...]) -> Ancestor:
    if identity in below:
        raise DataError(f"the run {identity} is its own ancestor", "a specification was altered; restore it")
    if identity not in found:
        return Ancestor(identity)
    root, entry = found[identity]
    path = os.path.join(root, entry.path)
    start, patch = _last_start(path)
    parents = tuple((role, _ancestor(parent, found, (*below, identity))) for role, parent in entry.parents.items())
    return Ancestor(identity, path, entry, start, patch, parents)


def _last_start(path: str) -> tuple[dict[str, Any], str]:
    """What the last attempt that got so far said, and its patch; a best-of-n that was never begun says nothing."""
    folder = os.path.join(path, "attempts")
    for attempt in sorted(os.listdir(folder), reverse=True) if os.path.isdir(folder) else []:
        file = os.path.join(folder, attempt, "start.json")
        if os.path.exists(file):
            with open(file, encoding="utf8") as handle:
                start = json.load(handle)
            patch = os.path.join(folder, attempt, "code.patch")
            return start, patch if os.path.exists(patch) else ""
    return {}, ""


def _lines(ancestor: Ancestor, roles: Sequence[str], depth: int, described: set[str]) -> Iterator[str]:
    indent = "  " * depth
    role = f"{', '.join(roles)}: " if roles else ""
    if ancestor.entry is None:
        yield f"{indent}{role}{ancestor.identity} (not under the roots: an imported model, or a run elsewhere)"
        return
    entry = ancestor.entry
    yield f"{indent}{role}{entry.kind} {entry.run_id} {entry.status}" + (f' "{entry.name}"' if entry.name else "")
    if ancestor.identity in described:
        return
    described.add(ancestor.identity)
    yield from (f"{indent}    {name:8} {value}" for name, value in _facts(ancestor, entry) if value)
    by_parent: dict[str, list[str]] = {}
    for name, parent in ancestor.parents:
        by_parent.setdefault(parent.identity, []).append(name)
    parents = {parent.identity: parent for _, parent in ancestor.parents}
    for identity, names in by_parent.items():
        yield from _lines(parents[identity], names, depth + 1, described)


def _facts(ancestor: Ancestor, entry: Entry) -> list[tuple[str, str]]:
    start = ancestor.start
    device, machine, versions = (start.get(name, {}) for name in ("device", "machine", "versions"))
    code = start.get("git_commit") or entry.git_commit
    placed = [start.get("host", ""), _counted(device), machine.get("system", ""), *_scheduled(machine)]
    return [
        ("where", ancestor.path),
        ("made by", start.get("command", "")),
        ("data", ", ".join(f"{role} {content[:16]}" for role, content in entry.data.items())),
        ("code", f"{code} {ancestor.patch}".strip()),
        ("machine", ", ".join(filter(None, placed))),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def _counted(device: Mapping[str, Any]) -> str:
    return f"{device.get('count', 1)} x {device['kind']}" if device else ""


def _scheduled(machine: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in machine.get("scheduler", {}).items()]


if __name__ == "__main__":
    verbs.run(main)
