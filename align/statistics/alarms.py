"""Alarms of over-optimisation, from the measurements of a run alone: no gold reward is needed.

    ensemble disagreement   ln(disagreement now / at the beginning)     members of a reward ensemble part where none was trained
    KL acceleration         ln(recent speed of √KL / speed before)      a policy under control slows down; the reward grows about linearly in √KL
    length drift            |ln(length now / at the beginning)| / √KL   length is what proxies are most often hacked by (Singhal et al. 2023,
                                                                        arXiv:2310.03716); any policy's lengths move as it moves away

"Now" is the mean of the last two measurements, so that a single noisy one raises no alarm, and none is raised before the seventh: over a few measurements
that lie far apart any policy that learns has changed. A threshold is what the statistic of a healthy run exceeds at any measurement with a stated
probability; :data:`THRESHOLDS` were measured on simulated runs (`python -m align.statistics.alarm_calibration`). On PPO without a penalty, on the gold reward
itself and 20 to 40 nats away, ensemble disagreement was raised in four of four runs and the others in none, so disagreement tells nothing of runs that may go
so far. What alarms raise and find on one's own runs, by the number of measurements: the same command with `--laboratory=ROOT`; :func:`calibrate` measures
thresholds on them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from align.statistics import intervals
from scaling.errors import DataError

FloatArray = npt.NDArray[np.float64]
# Measurements of one run in order: rows of measurements.jsonl.
Run = Sequence[Mapping[str, Any]]

_RECENT = 2
# Speeds are compared over so many measurements, once there are twice as many beyond the first.
_WINDOW = 3
FEWEST = 2 * _WINDOW + 1


@dataclasses.dataclass(frozen=True)
class Alarm:
    """What one alarm says of a run.

    Attributes:
      name: of :data:`STATISTICS`.
      statistic_T: at every measurement; NaN where it is not defined yet, or not measured.
      threshold: that it must exceed.
      at: index of the first measurement above it; None where there is none.
    """

    name: str
    statistic_T: FloatArray
    threshold: float
    at: int | None


@dataclasses.dataclass(frozen=True)
class Rate:
    """A share of runs with an alarm: `value` of `runs`, with Clopper and Pearson's 95% interval."""

    value: float
    runs: int
    interval: tuple[float, float]


def ensemble_disagreement(run: Run) -> FloatArray:
    """Growth of `disagreement` (standard deviation between the members' rewards, mean over samples), float64 [T]."""
    return np.log(_recent(_column(run, "disagreement")) / _initial(_column(run, "disagreement")))


def kl_acceleration(run: Run) -> FloatArray:
    """Growth of the speed of √KL over steps, float64 [T]; the exact KL is taken where it was measured."""
    distance_T, step_T = _distance(run), _column(run, "step")
    found_T = np.full(len(run), np.nan)
    for now in range(FEWEST - 1, len(run)):
        # The mean over two neighbours at either end, for KLs are noisy.
        ends = [slice(now - 1, now + 1), slice(now - _WINDOW - 1, now - _WINDOW + 1)]
        (late, late_step), (middle, middle_step) = ((distance_T[end].mean(), step_T[end].mean()) for end in ends)
        before = (middle - distance_T[0]) / (middle_step - step_T[0])
        recent = (late - middle) / (late_step - middle_step)
        if before > 0:
            found_T[now] = np.log(max(recent, 1e-3 * before) / before)
    return found_T


def length_drift(run: Run) -> FloatArray:
    """Relative change of the mean `length` in either direction for each unit of √KL (for all of it within one nat), float64 [T]."""
    length_T, distance_T = _column(run, "length"), np.maximum(_distance(run), 1.0)
    return np.abs(np.log(_recent(length_T) / _initial(length_T))) / _recent(distance_T)


STATISTICS: dict[str, Callable[[Run], FloatArray]] = {
    "ensemble_disagreement": ensemble_disagreement,
    "kl_acceleration": kl_acceleration,
    "length_drift": length_drift,
}
# Each is exceeded at any of 20 measurements by this share of 20,000 simulated healthy runs.
FALSE_ALARMS = 0.02
THRESHOLDS: dict[str, float] = {"ensemble_disagreement": 0.295, "kl_acceleration": 0.242, "length_drift": 0.185}


def check(run: Run, thresholds: Mapping[str, float] = THRESHOLDS) -> list[Alarm]:
    """Every alarm on one run; those whose measurement is missing have no statistic and are silent."""
    found = []
    for name, threshold in thresholds.items():
        statistic_T = STATISTICS[name](run)
        above = np.flatnonzero(statistic_T > threshold)
        found.append(Alarm(name, statistic_T, threshold, int(above[0]) if len(above) else None))
    return found


def calibrate(name: str, healthy: Sequence[Run], rate: float = FALSE_ALARMS) -> float:
    """The threshold that a share `rate` of healthy runs exceeds at any measurement.

    Raises:
      DataError: the runs are too few for that rate, or did not measure what the alarm needs.
    """
    peaks = [statistic_T.max() for run in healthy if len(statistic_T := _known(STATISTICS[name](run)))]
    if len(peaks) * rate < 1:
        raise DataError(
            f"{len(peaks)} healthy runs with {name} cannot tell of a false-alarm rate of {rate:g}",
            f"measure at least {int(np.ceil(1 / rate))}",
        )
    return float(np.quantile(peaks, 1 - rate, method="higher"))


def alarm_rate(name: str, runs: Sequence[Run], threshold: float) -> Rate:
    """The share of runs on which an alarm is raised: its false-alarm rate if they are healthy, its power if not."""
    raised = sum(bool((STATISTICS[name](run) > threshold).any()) for run in runs)
    return Rate(raised / len(runs), len(runs), intervals.clopper_pearson(raised, len(runs)))


def _distance(run: Run) -> FloatArray:
    """√KL, nats^(1/2): of the exact KL where it was measured."""
    kl_T = np.array([row["kl"] if row.get("kl_exact") is None else row["kl_exact"] for row in run], np.float64)
    return np.sqrt(np.maximum(kl_T, 0.0))


def _column(run: Run, name: str) -> FloatArray:
    """A column, NaN where it was not measured."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in run], np.float64)


def _recent(value_T: FloatArray) -> FloatArray:
    """Means of the last two values; NaN before there are enough."""
    found_T = np.full(len(value_T), np.nan)
    for now in range(FEWEST - 1, len(value_T)):
        found_T[now] = value_T[now - _RECENT + 1 : now + 1].mean()
    return np.where(found_T > 0, found_T, np.nan)


def _initial(value_T: FloatArray) -> float:
    start = float(value_T[:_RECENT].mean()) if len(value_T) else np.nan
    return start if start > 0 else np.nan


def _known(statistic_T: FloatArray) -> FloatArray:
    return statistic_T[~np.isnan(statistic_T)]
