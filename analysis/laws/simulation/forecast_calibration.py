"""What forecasts cover, by simulation: many sweeps from known laws, each asked for dearer runs on trunks of their own.

    python -m analysis.laws.simulation.forecast_calibration [--sweeps=250] [--designs=NAME,...] [--level=0.9] [--seed=0]

A forecast is right when its interval holds the run to come, noise of the run included, as often as it says, and useful when it is no wider than
it must be. What it must be is told by the ideal: the interval that a forecaster would give who knows the law's form and the covariance
of the noise, and has only its parameters to estimate (generalised least squares; no unbiased linear predictor has a smaller variance).
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.laws.fitting import solve
from analysis.laws.forecasts import outlook, rollouts
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.simulation import calibration, synthetic
from analysis.laws.simulation.calibration import Scenario
from analysis.laws.simulation.synthetic import Design, NoiseModel

FloatArray = npt.NDArray[np.float64]

# Compute of the runs asked for, over the largest of the sweep.
BEYOND = (2.0, 4.0, 8.0)

_DEMO = synthetic.ladder(trunks=7, reach=40.0, repeated=2)
SCENARIOS: dict[str, Scenario] = {
    "isoflop": Scenario(synthetic.isoflop(), NoiseModel(0.005)),
    "grid": Scenario(synthetic.grid(), NoiseModel(0.01)),
    "demo_half": Scenario(_DEMO, NoiseModel(0.01, shared=0.5)),
    "demo_most": Scenario(_DEMO, NoiseModel(0.01, shared=0.9)),
    "demo_quiet": Scenario(_DEMO, NoiseModel(0.005, shared=0.9)),
    "demo_by_loss": Scenario(_DEMO, NoiseModel(0.01, shared=0.8, by_loss=True)),
    "trunks": Scenario(synthetic.ladder(trunks=10), NoiseModel(0.003, shared=0.8)),
    # Not Chinchilla's form.
    "demo_wrong": Scenario(_DEMO, NoiseModel(0.01, shared=0.8), outer=0.6),
    "isoflop_wrong": Scenario(synthetic.isoflop(), NoiseModel(0.003), outer=0.6),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The forecasts of one simulated sweep, of ln L.

    Attributes:
      scenario: which.
      measured_Q: of the runs asked for, one for each of :data:`BEYOND`.
      median_Q, low_Q, high_Q: forecast.
      ideal_Q: width of the ideal interval, at the same level.
    """

    scenario: str
    measured_Q: FloatArray
    median_Q: FloatArray
    low_Q: FloatArray
    high_Q: FloatArray
    ideal_Q: FloatArray


def ahead(design: Design, beyond: tuple[float, ...] = BEYOND) -> Design:
    """Runs that a sweep is asked for: `beyond` times its largest compute, at its mean of ln D/N, each on a trunk of its own."""
    log_ratio = np.mean(design.log_tokens - design.log_params)
    log_compute_Q = design.log_compute.max() + np.log(beyond)
    log_params_Q = 0.5 * (log_compute_Q - np.log(6.0) - log_ratio)
    new_Q = design.cluster.max() + 1 + np.arange(len(beyond))
    return Design(
        f"beyond {design.name}", log_params_Q, log_params_Q + log_ratio, new_Q, np.zeros(len(beyond), np.int64)
    )


def simulate(scenario: Scenario, name: str, number: int, level: float = 0.9, seed: int = 0) -> Verdict:
    """Draws one sweep and the runs beyond it, and forecasts these from it.

    Args:
      scenario: the design, its noise and the family of truths.
      name: of the scenario.
      number: of the sweep; equal numbers give equal sweeps.
      level: nominal coverage.
      seed: of all sweeps.
    """
    rng = np.random.default_rng([seed, number])
    design, asked = scenario.design, ahead(scenario.design)
    whole = design.joined(asked)
    truth = synthetic.draw_truth(rng, scenario.outer)
    y_J = truth.log_loss(whole, design) + scenario.noise.draw(whole, truth, rng, design)
    runs = design.with_losses(y_J[: len(design)])
    made = outlook.of(runs, level).forecast(_asked(asked))
    return Verdict(
        name, y_J[len(design) :], made.median_Q, made.low_Q, made.high_Q,
        2 * stats.norm.ppf((1 + level) / 2) * _ideal_deviation(scenario, asked, truth),
    )  # fmt: skip


def _asked(design: Design) -> outlook.Runs:
    logs = {"params": design.log_params, "tokens": design.log_tokens, "flops": design.log_compute}
    return outlook.Runs(logs, np.full(len(design), -1))


def _ideal_deviation(scenario: Scenario, asked: Design, truth: synthetic.Truth) -> FloatArray:
    """Standard deviation of ln L of new runs about the forecast of generalised least squares, float64[Q]."""
    design = scenario.design
    theta_P = synthetic.pseudo_truth(design, truth)
    x_KxV, x_QxV = (np.stack([item.log_params, item.log_tokens], axis=1) for item in (design, asked))
    covariance_PxP = calibration.least_covariance(design, scenario.noise, truth, x_KxV, theta_P)
    jacobian_PxQ = solve.jacobian(FORM, theta_P, x_QxV)
    own_Q = scenario.noise.scale(asked, truth, design)
    return np.sqrt(np.einsum("pq,pr,rq->q", jacobian_PxQ, covariance_PxP, jacobian_PxQ) + own_Q**2)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Forecasts of runs at one distance over all sweeps of a scenario.

    Attributes:
      scenario: which.
      beyond: compute over the largest of the sweep.
      score: coverage, width, error and interval score.
      missed_low, missed_high: share of runs below and above their interval.
      relative_width: median width over the ideal one.
    """

    scenario: str
    beyond: float
    score: rollouts.Score
    missed_low: float
    missed_high: float
    relative_width: float

    @property
    def in_words(self) -> str:
        """A row of the table."""
        score = self.score
        return (
            f"{self.scenario:14s} {self.beyond:6g} {score.predictions:6d}  {100 * score.coverage:6.1f} {100 * self.missed_low:5.1f} "
            f"{100 * self.missed_high:5.1f}  {score.width_percent:6.2f} {self.relative_width:6.2f}  {score.error_percent:6.2f} "
            f"{score.interval_score:7.2f}"
        )


HEADER = (
    f"{'scenario':14s} {'beyond':>6s} {'sweeps':>6s}  {'cover%':>6s} {'low':>5s} {'high':>5s}  {'width%':>6s} {'/ideal':>6s}  {'error%':>6s} "
    f"{'score%':>7s}"
)


def summarise(verdicts: Iterable[Verdict], level: float = 0.9) -> list[Summary]:
    """Every scenario at every distance, in the order of their appearance."""
    groups: dict[str, list[Verdict]] = {}
    for item in verdicts:
        groups.setdefault(item.scenario, []).append(item)
    return [
        _summary(scenario, index, items, level) for scenario, items in groups.items() for index in range(len(BEYOND))
    ]


def _summary(scenario: str, index: int, items: list[Verdict], level: float) -> Summary:
    names = ("measured_Q", "median_Q", "low_Q", "high_Q", "ideal_Q")
    measured_S, median_S, low_S, high_S, ideal_S = (
        np.array([getattr(item, name)[index] for item in items]) for name in names
    )
    beyond = BEYOND[index]
    score = rollouts.summary(scenario, (beyond, beyond), measured_S, median_S, low_S, high_S, level)
    return Summary(
        scenario, beyond, score, float(np.mean(measured_S < low_S)), float(np.mean(measured_S > high_S)),
        float(np.median((high_S - low_S) / ideal_S)),
    )  # fmt: skip


def _reported(names: list[str], sweeps: int, level: float, seed: int) -> Iterator[Verdict]:
    """All verdicts, with the time left on standard error."""
    started, shown, total = time.monotonic(), 0.0, sweeps * len(names)
    for done in range(total):
        name = names[done // sweeps]
        yield simulate(SCENARIOS[name], name, done % sweeps, level, seed)
        passed = time.monotonic() - started
        if passed - shown > 15:
            left = passed / (done + 1) * (total - done - 1)
            print(f"{done + 1} of {total} sweeps in {passed:.0f} s, {left:.0f} s left", file=sys.stderr, flush=True)
            shown = passed


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description="Coverage and width of forecasts of dearer runs over simulated sweeps."
    )
    parser.add_argument("--sweeps", type=int, default=250, help="simulated sweeps a scenario")
    parser.add_argument(
        "--designs", type=calibration.names_of(SCENARIOS), default=list(SCENARIOS), help=", ".join(SCENARIOS)
    )
    parser.add_argument("--level", type=float, default=0.9, help="nominal coverage")
    parser.add_argument("--seed", type=int, default=0, help="of all sweeps")
    chosen = parser.parse_args(arguments)
    print(HEADER)
    verdicts: list[Verdict] = []
    try:
        for item in _reported(chosen.designs, chosen.sweeps, chosen.level, chosen.seed):
            verdicts.append(item)
    except KeyboardInterrupt:
        print(f"interrupted: what follows is of {len(verdicts)} sweeps", file=sys.stderr)
    for row in summarise(verdicts, chosen.level):
        print(row.in_words, flush=True)


if __name__ == "__main__":
    main()
