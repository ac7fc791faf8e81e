"""From a row of a file to an example, or to what is wrong with the row."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from align.data.examples import UNKNOWN, TextExample
from align.data.sources.comparisons import split_dialogues


class Layout(NamedTuple):
    """What rows look like.

    Attributes:
      required: fields that every row has.
      optional: fields that a row may have.
      num_completions: K.
    """

    required: frozenset[str]
    optional: frozenset[str]
    num_completions: int


_PAIR_OPTIONS = frozenset({"name", "chosen_score", "rejected_score", "margin"})
_LAYOUTS = (
    Layout(frozenset({"prompt", "chosen", "rejected"}), _PAIR_OPTIONS, 2),
    Layout(frozenset({"chosen", "rejected"}), _PAIR_OPTIONS, 2),
    Layout(frozenset({"prompt", "completion"}), frozenset({"name", "score"}), 1),
    # The number of completions is that of the first row.
    Layout(frozenset({"prompt", "completions"}), frozenset({"name", "scores"}), 0),
    Layout(frozenset({"prompt"}), frozenset({"name"}), 0),
)
_NUMBERS = ("score", "chosen_score", "rejected_score", "margin")


def layout_of(row: Any) -> Layout | None:
    """The layout whose fields a row has, none besides them; None where there is no such layout."""
    if not isinstance(row, Mapping):
        return None
    for layout in _LAYOUTS:
        if layout.required <= set(row) <= layout.required | layout.optional:
            if "completions" not in row:
                return layout
            completions = _list(row["completions"])
            return layout._replace(num_completions=len(completions)) if completions else None
    return None


def example_of(row: Any, layout: Layout, name: str) -> TextExample:
    """The example of a row, or one with a flaw in words.

    Args:
      row: what was read.
      layout: what its file's rows look like.
      name: of the row, where it does not name itself.
    """
    flaw = _structural_flaw(row, layout)
    if flaw:
        return TextExample(name, "", flaw=flaw)
    name = str(row.get("name") or name)
    try:
        numbers = {field: _number(row.get(field)) for field in _NUMBERS}
        if "completions" in layout.required:
            return _ranked(name, row)
    except (TypeError, ValueError):
        return TextExample(name, "", flaw="with a score or a list that cannot be read")
    if "chosen" not in layout.required:
        completions = (row["completion"],) if "completion" in layout.required else ()
        return TextExample(name, row["prompt"], completions, (numbers["score"],) * len(completions))
    scores = (numbers["chosen_score"], numbers["rejected_score"])
    margin = numbers["margin"]
    if "prompt" in layout.required:
        return TextExample(name, row["prompt"], (row["chosen"], row["rejected"]), scores, margin)
    comparison = split_dialogues(row["chosen"], row["rejected"])
    sides = (comparison.chosen, comparison.rejected)
    return TextExample(name, comparison.prompt, sides, scores, margin, flaw=comparison.flaw)


def _structural_flaw(row: Any, layout: Layout) -> str:
    if not isinstance(row, Mapping):
        return "that are no JSON object"
    unknown = sorted(str(field) for field in set(row) - layout.required - layout.optional)
    if unknown:
        return f"with the unknown field {unknown[0]!r}"
    missing = sorted(field for field in layout.required if row.get(field) is None)
    if missing:
        return f"without {missing[0]!r}"
    texts = [row[field] for field in layout.required - {"completions"}]
    if "completions" in layout.required:
        texts += _list(row["completions"])
    return "" if all(map(_is_text, texts)) else "with a field that is no text"


def _ranked(name: str, row: Mapping[str, Any]) -> TextExample:
    completions = _list(row["completions"])
    # An empty cell of a CSV file is a value that is not there.
    scores = [_number(score) for score in _list(row["scores"])] if row.get("scores") not in (None, "") else []
    if not scores:
        return TextExample(name, row["prompt"], tuple(completions), (UNKNOWN,) * len(completions))
    if len(scores) != len(completions):
        return TextExample(name, "", flaw="with another number of scores than of completions")
    known = not any(map(math.isnan, scores))
    flaw = "with equal scores" if known and len(scores) > 1 and len(set(scores)) == 1 else ""
    order = sorted(range(len(scores)), key=lambda place: -scores[place]) if known else range(len(scores))
    margin = scores[order[0]] - scores[order[1]] if len(scores) == 2 and known else UNKNOWN
    ranked = tuple(completions[place] for place in order)
    return TextExample(name, row["prompt"], ranked, tuple(scores[place] for place in order), margin, flaw=flaw)


def _list(value: Any) -> list[Any]:
    """A list, or the JSON text of one; anything else is the list of that one thing."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    return value if isinstance(value, list) else [value]


def _number(value: Any) -> float:
    return UNKNOWN if value is None or value == "" else float(value)


def _is_text(value: Any) -> bool:
    # A lone surrogate is a str that has no bytes.
    return isinstance(value, str) and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
