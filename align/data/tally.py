"""Counts what is left out and why, with names of examples, for the manifest and for messages."""

import dataclasses
from typing import Any

_NAMES_KEPT = 10
_NAMES_SHOWN = 3


@dataclasses.dataclass
class Reason:
    """One reason: how many examples it applied to, and the first of their names."""

    count: int = 0
    names: list[str] = dataclasses.field(default_factory=list)


class Tally:
    """From a reason in words to the examples that it applied to."""

    def __init__(self):
        self.reasons: dict[str, Reason] = {}

    def add(self, reason: str, name: str) -> None:
        """Counts one example."""
        entry = self.reasons.setdefault(reason, Reason())
        entry.count += 1
        if len(entry.names) < _NAMES_KEPT:
            entry.names.append(name)

    def merge(self, other: "Tally") -> None:
        """Adds the counts of another."""
        for text, reason in other.reasons.items():
            entry = self.reasons.setdefault(text, Reason())
            entry.count += reason.count
            entry.names = (entry.names + reason.names)[:_NAMES_KEPT]

    @property
    def total(self) -> int:
        """Examples counted, over all reasons."""
        return sum(reason.count for reason in self.reasons.values())

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {text: dataclasses.asdict(reason) for text, reason in sorted(self.reasons.items())}

    def __str__(self) -> str:
        """Such as "3 with an empty completion (a.jsonl:4, a.jsonl:9, ...), 1 with equal sides (b.jsonl:2)"."""
        by_count = sorted(self.reasons.items(), key=lambda item: (-item[1].count, item[0]))
        return ", ".join(f"{reason.count} {text} ({_shown(reason)})" for text, reason in by_count)


def _shown(reason: Reason) -> str:
    names = ", ".join(reason.names[:_NAMES_SHOWN])
    return f"{names}, ..." if reason.count > _NAMES_SHOWN else names
