"""What policies answered: the text of each prompt's first sample, from `samples.json` of finished runs."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from analysis.alignment.against_reference import SAMPLES
from analysis.alignment.measurements import Measurements
from analysis.laws.errors import TableError
from analysis.laws.tables import records


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer to one prompt.

    Attributes:
      prompt: the text of the prompt.
      text: of the answer.
      length: in tokens.
      gold: its gold score; None where none was measured.
    """

    prompt: str
    text: str
    length: int
    gold: float | None


Answers = Mapping[str, Answer]  # by the name of the prompt


@dataclasses.dataclass(frozen=True)
class AnsweredRun:
    """A run whose final policy and reference answered the same prompts.

    Attributes:
      run_id, method, setting, seed: the run.
      reference: identity of what it is held against.
      answers: of the final policy.
      reference_answers: of the reference, by the same keys.
      rewards: identities of the rewards that it was trained or measured by.
    """

    run_id: str
    method: str
    setting: str
    seed: int
    reference: str
    answers: Answers
    reference_answers: Answers
    rewards: frozenset[str]

    @property
    def name(self) -> str:
        """For tables."""
        return " ".join(part for part in (self.method, self.setting, f"seed {self.seed}") if part)


def read(measurements: Measurements) -> dict[str, AnsweredRun]:
    """Every measured run that kept its samples, by run id, in the order of the table.

    Raises:
      TableError: a record or a file of samples cannot be used, or no run has any.
    """
    found = {}
    for _, about in measurements.frame.drop_duplicates("run_id").iterrows():
        directory = epath.Path(about["path"])
        if (directory / SAMPLES).exists():
            found[about["run_id"]] = _run(about, directory)
    if not found:
        raise TableError(
            f"{', '.join(measurements.sources)}: no run has a {SAMPLES}",
            "point --runs at finished runs of align.dpo, align.ppo or align.study that were measured on prompts",
        )
    return found


def _run(about: Mapping[str, Any], directory: epath.Path) -> AnsweredRun:
    record = records.load(directory / records.RECORD)
    parents, data = record.get("parents") or {}, record.get("data") or {}
    rewards = {identity for role, identity in parents.items() if role.startswith(("proxy", "reward"))}
    path = directory / SAMPLES
    try:
        content = json.loads(path.read_text())
        policy, reference = (_answers(content[side]) for side in ("policy", "reference"))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise TableError(
            f"{path} holds no texts of a policy and its reference ({error!r})", "remove the file or the run"
        ) from error
    return AnsweredRun(
        about["run_id"],
        about["method"],
        about["setting"],
        int(about["seed"]),
        str(parents.get("reference", "reference")),
        policy,
        reference,
        frozenset(rewards | ({data["gold"]} if "gold" in data else set())),
    )


def _answers(side: Mapping[str, Any]) -> dict[str, Answer]:
    names = side["prompts"]
    if len(set(names)) < len(names):
        raise ValueError("a prompt's name stands there twice")
    gold = side.get("gold")
    return {
        name: Answer(shown["prompt"], shown["completion"], int(lengths[0]), None if gold is None else float(gold[number][0]))
        for number, (name, shown, lengths) in enumerate(zip(names, side["texts"], side["length"], strict=True))
    }  # fmt: skip
