"""What the alarms of over-optimisation raise falsely, and what they find: on simulated runs, or on recorded ones.

    python -m align.statistics.alarm_calibration [--runs=20000] [--rate=0.02] [--seed=0]
    python -m align.statistics.alarm_calibration --laboratory=runs/gold_laboratory [--laboratory=...]

A simulated run has 20 measurements on 64 prompts. Healthy: √KL grows ever more slowly to a limit between 1 and 9 (6 is where runs on the gold score stood
after 30 steps without a penalty) with the jitter of an adaptive penalty; length wanders by 1.5% a measurement, and by up to 0.12 in its logarithm for each
unit of √KL (0.06 to 0.13 in seven recorded runs on the gold score); the ensemble's disagreement rises by up to 30%, because any policy leaves the data a
little. Over-optimised: from a random moment on √KL accelerates, length grows or shrinks by 0.5 to 1 in its logarithm for each further unit of √KL, six-fold
at most (as in five recorded runs that ended in answers of a few tokens), and disagreement grows by 6 to 12% a measurement. All are observed with
errors of 5% (KL 10%). On one's own healthy runs the rates may be others: alarms.calibrate.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from align.statistics import alarms, recorded_runs
from align.statistics.alarms import Rate
from align.statistics.recorded_runs import RecordedRun
from scaling.errors import DataError

MEASUREMENTS = 20
# Beginnings of recorded runs that are judged by themselves; a run that is shorter counts as a whole.
_LENGTHS = (8, 12, 16, 24)


def simulated(over_optimised: bool, rng: np.random.Generator) -> list[dict[str, float]]:
    """One run, as rows of measurements.jsonl."""
    time_T = np.arange(MEASUREMENTS, dtype=np.float64)
    limit, pace = rng.uniform(1.0, 9.0), rng.uniform(3.0, 15.0)
    distance_T = limit * -np.expm1(-time_T / pace) * np.exp(0.03 * rng.standard_normal(MEASUREMENTS))
    wandering_T = np.cumsum(0.015 * rng.standard_normal(MEASUREMENTS))
    length_T = 30 * np.exp(wandering_T + rng.uniform(-0.12, 0.12) * distance_T)
    disagreement_T = 0.4 * (1 + 0.3 * rng.random() * distance_T / limit)
    if over_optimised:
        # Half of the run at least remains to see it in.
        late_T = np.maximum(0.0, time_T - rng.integers(4, MEASUREMENTS // 2 + 1))
        further_T = 0.02 * limit * late_T**2
        distance_T = distance_T + further_T
        length_T = length_T * np.exp(rng.choice([-1, 1]) * np.minimum(rng.uniform(0.5, 1.0) * further_T, np.log(6)))
        disagreement_T = disagreement_T * np.exp(rng.uniform(0.06, 0.12) * late_T)
    observed = {
        "kl": distance_T**2 * np.exp(0.10 * rng.standard_normal(MEASUREMENTS)),
        "length": length_T * np.exp(0.05 * rng.standard_normal(MEASUREMENTS)),
        "disagreement": disagreement_T * np.exp(0.05 * rng.standard_normal(MEASUREMENTS)),
    }
    return [
        {"step": 10.0 * index, **{name: float(values[index]) for name, values in observed.items()}}
        for index in range(MEASUREMENTS)
    ]


def of_recorded(runs: Sequence[RecordedRun]) -> Iterator[str]:
    """Lines of a table: by alarm and number of measurements, the share of healthy and of spoilt runs that raised it."""
    states = [run.state for run in runs]
    most = max(len(run.rows) for run in runs)
    yield f"{len(runs)} runs: {', '.join(f'{states.count(state)} {state}' for state in ('healthy', 'spoilt', 'unclear'))}"
    yield f"{'alarm':24}{'measurements':>13}{'threshold':>10}  {'raised by healthy runs':30}{'raised by spoilt runs':30}"
    for name, length in itertools.product(
        alarms.THRESHOLDS, sorted({*(size for size in _LENGTHS if size < most), most})
    ):
        rates = (
            _rate(name, [run.rows[:length] for run in runs if run.state == state]) for state in ("healthy", "spoilt")
        )
        cells = "".join(f"{cell:30}" for cell in rates)
        yield f"{name:24}{length:>13}{alarms.THRESHOLDS[name]:>10.3f}  {cells}".rstrip()


def _rate(name: str, runs: Sequence[alarms.Run]) -> str:
    """Of those that measured what the alarm needs."""
    known = [run for run in runs if not np.isnan(alarms.STATISTICS[name](run)).all()]
    if not known:
        return "not measured"
    rate = alarms.alarm_rate(name, known, alarms.THRESHOLDS[name])
    return f"{round(rate.value * rate.runs)} of {rate.runs}, {_interval(rate)}"


def _interval(rate: Rate) -> str:
    return f"[{100 * rate.interval[0]:.2f}%, {100 * rate.interval[1]:.2f}%]"


def main() -> None:
    """The command: thresholds from one half of the healthy runs, rates on the other and on over-optimised ones; or the rates of recorded runs."""
    parser = argparse.ArgumentParser(
        description="Thresholds, false-alarm rates and power of the alarms of over-optimisation."
    )
    parser.add_argument("--runs", type=int, default=20_000, help="simulated runs of each kind")
    parser.add_argument("--rate", type=float, default=0.02, help="false alarms a healthy run, of each alarm")
    parser.add_argument("--seed", type=int, default=0, help="of all runs")
    parser.add_argument("--laboratory", action="append", help="judges recorded runs of PPO instead; repeatable")
    chosen = parser.parse_args()
    if chosen.laboratory:
        try:
            runs = [run for root in chosen.laboratory for run in recorded_runs.read(root)]
        except DataError as error:
            parser.error(str(error))
        print("\n".join(of_recorded(runs)))
        return
    rng = np.random.default_rng(chosen.seed)
    calibration, fresh, hacked = ([simulated(kind, rng) for _ in range(chosen.runs)] for kind in (False, False, True))
    print(f"{'alarm':24}{'threshold':>10}{'built in':>10}{'false':>9}  {'95% interval':18}{'found':>8}")
    for name, built_in in alarms.THRESHOLDS.items():
        threshold = alarms.calibrate(name, calibration, chosen.rate)
        false, found = (alarms.alarm_rate(name, runs, built_in) for runs in (fresh, hacked))
        print(
            f"{name:24}{threshold:>10.3f}{built_in:>10.3f}{100 * false.value:>8.2f}%  {_interval(false):18}{100 * found.value:>7.1f}%"
        )


if __name__ == "__main__":
    main()
