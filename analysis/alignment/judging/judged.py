"""Win rates by judges that were asked in both orders (:mod:`align.statistics.judges`), with what the order did and what lengths did."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from align.statistics import length_controlled, multiplicity
from align.statistics.intervals import Interval
from align.statistics.judges import SwappedVerdicts, swapped
from align.statistics.length_controlled import LengthControlled
from analysis.alignment.against_reference import FEWEST_PROMPTS
from analysis.alignment.judging.answers import AnsweredRun, Answers
from analysis.alignment.judging.comparisons import answers_of
from analysis.alignment.judging.judgements import Judgement
from analysis.laws.result import finite


@dataclasses.dataclass(frozen=True)
class Judged:
    """One pair of policies by one judge.

    Attributes:
      judge: its name.
      first, second: names of the policies; the second may be "its reference".
      first_id, second_id: their ids.
      verdicts: in both orders; a prompt on which they disagree is a tie.
      p_value: of the exact sign test of wins against losses.
      adjusted: the same by Holm over all pairs of all judges.
      adjusted_position: of the exact test of no position bias, by Holm over the same.
      controlled: the win rate at equal lengths; None where there are too few prompts.
      agreement: share of the decided prompts on which the gold scores of the judged texts say the same; None where none is decided by both.
      flags: what is doubtful.
    """

    judge: str
    first: str
    second: str
    first_id: str
    second_id: str
    verdicts: SwappedVerdicts
    p_value: float
    adjusted: float
    adjusted_position: float
    controlled: LengthControlled | None
    agreement: float | None
    flags: tuple[str, ...]

    def decided_interval(self, level: float) -> Interval | None:
        """The exact interval of wins among decided prompts; None where none is decided."""
        rate = self.verdicts.win_rate
        return rate.decided_interval(level) if rate.wins + rate.losses else None

    def to_json(self, level: float) -> dict[str, Any]:
        """JSON values."""
        verdicts, controlled, decided = self.verdicts, self.controlled, self.decided_interval(level)
        return {
            **{name: getattr(self, name) for name in ("judge", "first", "second", "first_id", "second_id")},
            **dataclasses.asdict(verdicts.win_rate),
            "win_rate": verdicts.win_rate.value,
            "interval": list(verdicts.win_rate.interval(level)),
            "decided_interval": None if decided is None else list(decided),
            "p_value": self.p_value,
            "adjusted": self.adjusted,
            "inconsistency": 1 - verdicts.consistency,
            "position_bias": verdicts.position_bias,
            "position_logit": finite(verdicts.position_logit),
            "position_test": verdicts.position_test,
            "adjusted_position": self.adjusted_position,
            "share_without_position": verdicts.unbiased_share,
            "length_controlled": None
            if controlled is None
            else {"value": controlled.value, "interval": list(controlled.interval)},
            "agreement_with_gold": self.agreement,
            "flags": list(self.flags),
        }


def judged(judgements: Sequence[Judgement], runs: Mapping[str, AnsweredRun], level: float) -> list[Judged]:
    """What the judgements say, with p-values adjusted over all of them.

    Args:
      judgements: of all judges.
      runs: that were judged, by run id.
      level: of intervals.
    """
    verdicts = [swapped(item.when_first, item.when_second) for item in judgements]
    p_values = [item.win_rate.sign_test for item in verdicts]
    adjusted = multiplicity.holm(p_values)
    positions = multiplicity.holm([item.position_test for item in verdicts])
    found = []
    for item, said, *p in zip(judgements, verdicts, p_values, adjusted, positions, strict=True):
        is_reference = item.pair.second == runs[item.pair.first].reference
        found.append(
            Judged(
                item.judge,
                runs[item.pair.first].name,
                "its reference" if is_reference else runs[item.pair.second].name,
                *item.pair,
                said,
                *map(float, p),
                _controlled(item, answers_of(runs, item.pair), level),
                _agreement(item, answers_of(runs, item.pair)),
                _flags(item, runs),
            )
        )
    return found


def _agreed(item: Judgement) -> np.ndarray:
    """+1, 0 or -1 by prompt; 0 where the orders disagree."""
    first_P, second_P = np.asarray(item.when_first), np.asarray(item.when_second)
    return np.where(first_P == second_P, first_P, 0)


def _controlled(item: Judgement, answers: tuple[Answers, Answers], level: float) -> LengthControlled | None:
    if len(item.prompts) < FEWEST_PROMPTS:
        return None
    lengths = [[side[name].length for name in item.prompts] for side in answers]
    return length_controlled.win_rate((_agreed(item) + 1) / 2, *lengths, level=level)


def _agreement(item: Judgement, answers: tuple[Answers, Answers]) -> float | None:
    if any(side[name].gold is None for side in answers for name in item.prompts):
        return None
    ours, theirs = (np.array([side[name].gold for name in item.prompts]) for side in answers)
    gold_P, said_P = np.sign(ours - theirs), _agreed(item)
    decided_P = (gold_P != 0) & (said_P != 0)
    return float((gold_P == said_P)[decided_P].mean()) if decided_P.any() else None


def _flags(item: Judgement, runs: Mapping[str, AnsweredRun]) -> tuple[str, ...]:
    known = any(name in runs and item.identity in runs[name].rewards for name in item.pair)
    if item.identity and known:
        return (f"{item.judge} is a reward that the policies learnt from or were measured by: no independent judge",)
    return ()
