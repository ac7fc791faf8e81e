"""Alarms of over-optimisation that the runs of a report raised, and how far they can be believed there.

PPO on the gold reward itself cannot over-optimise, so where a report has such runs, their share that raised an alarm is its false-alarm rate on runs of
just this kind: of this length, with this penalty, that went this far.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from align.statistics import alarms
from align.statistics.alarms import Rate

_COLUMNS = ["step", "kl", "length", "disagreement"]

# Said where no alarm has a rate.
UNABLE = f"none could be raised: they need {alarms.FEWEST} measurements of a run, and no run has so many"


@dataclasses.dataclass(frozen=True)
class RaisedAlarm:
    """An alarm of over-optimisation that a run raised (:mod:`align.statistics.alarms`).

    Attributes:
      run_id, method, setting, seed, label: the run.
      alarm: its name.
      step: of the first measurement above the threshold.
      largest: value of the statistic in the run.
      threshold: that it exceeded.
    """

    run_id: str
    method: str
    setting: str
    seed: int
    label: str
    alarm: str
    step: int
    largest: float
    threshold: float


@dataclasses.dataclass(frozen=True)
class AlarmRate:
    """How often one alarm was raised.

    Attributes:
      alarm: its name.
      healthy: the share of the runs on the gold reward itself; None where none measured what the alarm needs.
      others: the same of all other runs.
    """

    alarm: str
    healthy: Rate | None
    others: Rate | None

    @property
    def in_words(self) -> str:
        """One sentence."""
        others = (
            "raised by no run that could be over-optimised"
            if self.others is None
            else f"raised by {_share(self.others)} runs"
        )
        name = self.alarm.replace("_", " ")
        if self.healthy is None:
            return f"{name}: {others}; no run on the gold reward itself says how often that is false"
        verdict = ", so here it tells nothing" if self.healthy.interval[0] > alarms.FALSE_ALARMS else ""
        return f"{name}: {others}, and by {_share(self.healthy)} runs on the gold reward itself, which cannot be over-optimised{verdict}"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "alarm": self.alarm,
            **{
                name: None
                if rate is None
                else {"share": rate.value, "runs": rate.runs, "interval": list(rate.interval)}
                for name, rate in (("healthy", self.healthy), ("others", self.others))
            },
        }


def of_frame(frame: pd.DataFrame) -> tuple[list[RaisedAlarm], list[AlarmRate]]:
    """What trained runs raise, and the rates of alarms that any of them could have raised; best-of-n has no course in time."""
    raised, courses = [], {True: [], False: []}
    for run_id, run in frame[frame["n"].isna()].groupby("run_id"):
        run = run.sort_values("step")
        first, course = run.iloc[0], run[_COLUMNS].to_dict("records")
        courses[first["method"].endswith(" on gold")].append(course)
        for alarm in alarms.check(course):
            if alarm.at is not None:
                raised.append(RaisedAlarm(
                    str(run_id), first["method"], first["setting"], int(first["seed"]), first["label"], alarm.name, int(run["step"].iloc[alarm.at]),
                    float(np.nanmax(alarm.statistic_T)), alarm.threshold,
                ))  # fmt: skip
    rates = [AlarmRate(name, _rate(name, courses[True]), _rate(name, courses[False])) for name in alarms.THRESHOLDS]
    return raised, [rate for rate in rates if rate.healthy or rate.others]


def _rate(name: str, courses: Sequence[alarms.Run]) -> Rate | None:
    known = [course for course in courses if np.isfinite(alarms.STATISTICS[name](course)).any()]
    return alarms.alarm_rate(name, known, alarms.THRESHOLDS[name]) if known else None


def _share(rate: Rate) -> str:
    return f"{round(rate.value * rate.runs)} of {rate.runs}"
