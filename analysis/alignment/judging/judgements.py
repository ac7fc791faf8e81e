"""What a judge said: reads its verdicts and refuses what is no complete judgement in both orders.

A file is one judge's. Its lines are JSON objects with a `verdict`, "first", "second" or "tie", and either the `id` of a comparison, whose policies the key
tells, or the fields of the key themselves: `prompt`, `first_policy`, `second_policy`. `judge` may name the judge; else the file does. `judge_identity`, if
there, says which reward it is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from analysis.alignment.judging import json_lines
from analysis.alignment.judging.answers import AnsweredRun
from analysis.alignment.judging.comparisons import Pair, answers_of
from analysis.laws.errors import TableError

_VERDICTS = {"first": 1, "tie": 0, "second": -1}
_KEY_FIELDS = ("prompt", "first_policy", "second_policy")
_REMEDY = "ask the judge again for these lines, or mend them"


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One pair's verdicts by one judge.

    Attributes:
      judge: its name.
      identity: of the reward that it is; empty for a person or a model elsewhere.
      pair: the policies; a verdict of +1 is for the first.
      prompts: names.
      when_first, when_second: verdicts where the first policy's answer stood first, and second; +1, 0 or -1, by prompt.
    """

    judge: str
    identity: str
    pair: Pair
    prompts: tuple[str, ...]
    when_first: tuple[int, ...]
    when_second: tuple[int, ...]


def read(paths: Sequence[str], key: str, runs: Mapping[str, AnsweredRun]) -> list[Judgement]:
    """The judgements of every judge, pair by pair.

    Args:
      paths: a file of verdicts for each judge.
      key: of their comparisons; may be empty where lines name the policies themselves.
      runs: that were judged, by run id.

    Raises:
      TableError: a line is no verdict, names an unknown comparison, policy or prompt, or comes twice; or a prompt lacks one of its orders.
    """
    known = _key(key) if key else {}
    found = [judgement for path in paths for judgement in _of_file(path, known, runs)]
    judges = [(judgement.judge, judgement.pair) for judgement in found]
    for number, judge in enumerate(judges):
        if judge in judges[:number]:
            raise TableError(f"two files are of the judge {judge[0]!r}", "give each judge one file, or name them apart")
    return found


def _of_file(path: str, key: Mapping[str, dict[str, str]], runs: Mapping[str, AnsweredRun]) -> list[Judgement]:
    verdicts: dict[Pair, dict[tuple[str, bool], int]] = {}
    judges = set()
    for where, line in json_lines.read(path):
        asked = _asked(line, key, where)
        pair, is_first = _oriented(asked, runs, where)
        verdict = line.get("verdict")
        if verdict not in _VERDICTS:
            raise TableError(f"{where}: the verdict is {verdict!r}", 'say "first", "second" or "tie"')
        question = (asked["prompt"], is_first)
        of_pair = verdicts.setdefault(pair, {})
        if question in of_pair:
            raise TableError(f"{where}: the same prompt, policies and order come twice", "keep one of them")
        of_pair[question] = _VERDICTS[verdict] if is_first else -_VERDICTS[verdict]
        judges.add((str(line.get("judge") or epath.Path(path).stem), str(line.get("judge_identity") or "")))
    if len(judges) != 1:
        raise TableError(f"{path} has verdicts of {len(judges)} judges", "give each judge a file of its own")
    ((judge, identity),) = judges
    return [_judgement(judge, identity, pair, of_pair, path) for pair, of_pair in verdicts.items()]


def _judgement(judge: str, identity: str, pair: Pair, verdicts: dict[tuple[str, bool], int], path: str) -> Judgement:
    prompts = tuple(dict.fromkeys(name for name, _ in verdicts))
    alone = [name for name in prompts if not {(name, True), (name, False)} <= verdicts.keys()]
    if alone:
        raise TableError(
            f"{path}: {len(alone)} of {len(prompts)} prompts of {pair.first} against {pair.second} were asked in one order only, such as {alone[0]!r}",
            "ask for every prompt in both orders: a judge that favours a position cannot be told from a fair one",
        )
    return Judgement(
        judge,
        identity,
        pair,
        prompts,
        tuple(verdicts[name, True] for name in prompts),
        tuple(verdicts[name, False] for name in prompts),
    )


def _asked(line: dict[str, Any], key: Mapping[str, dict[str, str]], where: str) -> dict[str, str]:
    """Prompt and policies of a line."""
    if "id" not in line:
        missing = [name for name in _KEY_FIELDS if not isinstance(line.get(name), str)]
        if missing:
            raise TableError(f"{where}: neither id nor {', '.join(missing)}", _REMEDY)
        return line
    if not key:
        raise TableError(f"{where}: an id, and no key that tells whose answers it compares", "give --key=key.jsonl")
    if line["id"] not in key:
        raise TableError(f"{where}: the key has no comparison {line['id']!r}", "give the key of these comparisons")
    return key[line["id"]]


def _oriented(asked: Mapping[str, str], runs: Mapping[str, AnsweredRun], where: str) -> tuple[Pair, bool]:
    """The pair as it is reported, a policy before its reference and runs in the order of the table; and whether its first stood first."""
    first, second = asked["first_policy"], asked["second_policy"]
    order = list(runs)
    if first in runs and second == runs[first].reference:
        pair = Pair(first, second)
    elif second in runs and first == runs[second].reference:
        pair = Pair(second, first)
    else:
        unknown = [name for name in (first, second) if name not in runs]
        if unknown or first == second:
            raise TableError(
                f"{where}: {unknown[0] if unknown else first!r} is none of the {len(runs)} runs with samples, nor the other's reference",
                "give --runs the runs that were judged",
            )
        pair = Pair(*sorted((first, second), key=order.index))
    if any(asked["prompt"] not in answers for answers in answers_of(runs, pair)):
        raise TableError(f"{where}: {pair.first} and {pair.second} did not answer {asked['prompt']!r}", _REMEDY)
    return pair, pair.first == first


def _key(path: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for where, line in json_lines.read(path):
        if not all(isinstance(line.get(name), str) for name in ("id", *_KEY_FIELDS)):
            raise TableError(f"{where}: no line of a key", "give the key.jsonl that analysis.comparisons wrote")
        found[line["id"]] = line
    return found
