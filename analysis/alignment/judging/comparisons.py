"""What is to be judged: two answers to a prompt, in both orders, in lines that do not say whose they are; and the key that does.

comparisons.jsonl   {"id", "prompt", "first", "second"}                        what a judge sees: texts
key.jsonl           {"id", "prompt", "first_policy", "second_policy"}          whose they are: the prompt's name, run ids (or a reference's identity)

The lines stand in an order without meaning, so that a judge does not meet a pair again at once with its sides swapped.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from analysis.alignment.judging import json_lines
from analysis.alignment.judging.answers import AnsweredRun, Answers
from analysis.laws.errors import TableError

COMPARISONS, KEY = "comparisons.jsonl", "key.jsonl"


class Pair(NamedTuple):
    """Two policies that are compared.

    Attributes:
      first, second: run ids; the second may be the identity of the first's reference.
    """

    first: str
    second: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One question to a judge.

    Attributes:
      id: without meaning, the same whenever the same question is written.
      name: of the prompt.
      first_policy, second_policy: who answered.
      prompt, first, second: texts.
    """

    id: str
    name: str
    first_policy: str
    second_policy: str
    prompt: str
    first: str
    second: str

    @property
    def shown(self) -> dict[str, str]:
        """What a judge sees."""
        return {"id": self.id, "prompt": self.prompt, "first": self.first, "second": self.second}

    @property
    def key(self) -> dict[str, str]:
        """Whose answers they are."""
        return {
            "id": self.id,
            "prompt": self.name,
            "first_policy": self.first_policy,
            "second_policy": self.second_policy,
        }


def chosen(runs: Mapping[str, AnsweredRun], policies: Sequence[str] = (), against: str = "") -> list[Pair]:
    """The pairs that are asked for.

    Args:
      runs: by run id.
      policies: run ids; none: all.
      against: a run that all are compared with; empty: each with its own reference.

    Raises:
      TableError: a run is not among them, or nothing is left to compare.
    """
    unknown = [name for name in (*policies, *([against] if against else [])) if name not in runs]
    if unknown:
        raise TableError(
            f"no run with samples has the id {unknown[0]!r} ({len(unknown)} such ids)",
            f"name run ids, as {next(iter(runs))}; --dry_run lists them",
        )
    pairs = [Pair(name, against or runs[name].reference) for name in policies or runs if name != against]
    if not pairs:
        raise TableError(f"{against!r} is compared with itself alone", "name other runs by --policy")
    return pairs


def answers_of(runs: Mapping[str, AnsweredRun], pair: Pair) -> tuple[Answers, Answers]:
    """The answers of both; a reference's are those that it gave beside the policy."""
    first = runs[pair.first]
    return first.answers, first.reference_answers if pair.second == first.reference else runs[pair.second].answers


def made(runs: Mapping[str, AnsweredRun], pairs: Sequence[Pair], most: int | None = None) -> list[Comparison]:
    """Every pair on every prompt that both answered, in both orders.

    Args:
      runs: by run id.
      pairs: of :func:`chosen`.
      most: prompts of a pair, the first so many; None: all.

    Raises:
      TableError: a pair has no prompt in common.
    """
    found = [comparison for pair in pairs for comparison in _of_pair(runs, pair, most)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[index] for index in order]


def _of_pair(runs: Mapping[str, AnsweredRun], pair: Pair, most: int | None) -> Iterator[Comparison]:
    ours, theirs = answers_of(runs, pair)
    names = [name for name in ours if name in theirs and ours[name].prompt == theirs[name].prompt][:most]
    if not names:
        raise TableError(
            f"{pair.first} and {pair.second} answered no prompt in common", "compare runs that were measured alike"
        )
    for name in names:
        sides = ((pair.first, ours[name].text), (pair.second, theirs[name].text))
        for (first_policy, first), (second_policy, second) in (sides, sides[::-1]):
            content = json.dumps([first_policy, second_policy, name, first, second])
            identity = hashlib.sha256(content.encode()).hexdigest()[:16]
            yield Comparison(identity, name, first_policy, second_policy, ours[name].prompt, first, second)


def write(comparisons: Sequence[Comparison], directory: epath.Path) -> None:
    """Writes both files."""
    for file, part in ((COMPARISONS, "shown"), (KEY, "key")):
        lines = [json.dumps(getattr(comparison, part), ensure_ascii=False) + "\n" for comparison in comparisons]
        (directory / file).write_text("".join(lines))


def read(path: str) -> list[dict[str, Any]]:
    """The lines of a comparisons.jsonl.

    Raises:
      TableError: the file cannot be read, or a line is no comparison.
    """
    found = json_lines.read(path)
    for where, line in found:
        if not all(isinstance(line.get(name), str) for name in ("id", "prompt", "first", "second")):
            raise TableError(f"{where}: no comparison", "give the comparisons.jsonl that analysis.comparisons wrote")
    return [line for _, line in found]
