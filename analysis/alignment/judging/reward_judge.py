"""A reward as a judge: it prefers the answer that it scores higher. It sees no order, so its two orders always agree.

It is worth asking where no policy was optimised against it: a gold reward of another kind, or a reward model that was trained for this alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from align.gold.choice import GoldConfig
from align.sequences import Sequences
from scaling.data.manifested import VOCABULARY
from scaling.data.vocabularies import ByteVocabulary, Vocabulary, load_vocabulary
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class RewardJudge:
    """Who judges.

    Attributes:
      reward: scores answers to prompts.
      vocabulary: a token store whose vocabulary the reward reads, which a reward model and programs over tokens need; empty for rewards that read text.
      margin: differences of at most so much are ties.
    """

    reward: GoldConfig
    vocabulary: str = ""
    margin: float = 0.0

    def __post_init__(self):
        if not self.margin >= 0:
            raise ConfigError(f"RewardJudge.margin is {self.margin!r}", "give 0 or more")


def verdicts(judge: RewardJudge, comparisons: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The judge's answer to each line of `comparisons.jsonl`, ready for `analysis.frontier`.

    Args:
      judge: who judges.
      comparisons: objects with id, prompt, first and second.

    Raises:
      BadInputError: the reward cannot score these texts.
    """
    vocabulary = load_vocabulary(f"{judge.vocabulary}/{VOCABULARY}") if judge.vocabulary else ByteVocabulary()
    texts = list(dict.fromkeys((line["prompt"], line[side]) for line in comparisons for side in ("first", "second")))
    scores = dict(zip(texts, judge.reward.score(_encoded(texts, vocabulary), vocabulary), strict=True))
    signed = {"judge": judge.reward.name, "judge_identity": judge.reward.identity}
    return [{"id": line["id"], "verdict": _verdict(line, scores, judge.margin), **signed} for line in comparisons]


def _verdict(line: dict[str, Any], scores: dict[tuple[str, str], float], margin: float) -> str:
    difference = scores[line["prompt"], line["first"]] - scores[line["prompt"], line["second"]]
    return "tie" if abs(difference) <= margin else "first" if difference > 0 else "second"


def _encoded(texts: Sequence[tuple[str, str]], vocabulary: Vocabulary) -> Sequences:
    """Prompts with their answers as rows; EOS ends every answer."""
    rows = [(vocabulary.encode(prompt), vocabulary.encode(answer)) for prompt, answer in texts]
    lengths = np.array([len(prompt) + len(answer) + 1 for prompt, answer in rows], np.int32)
    tokens = np.full((len(rows), lengths.max()), vocabulary.pad_id, np.int32)
    for row, (prompt, answer) in zip(tokens, rows, strict=True):
        ids = np.concatenate([prompt, answer, [vocabulary.eos_id]])
        row[: len(ids)] = ids
    return Sequences(tokens, np.array([len(prompt) for prompt, _ in rows], np.int32), lengths)
