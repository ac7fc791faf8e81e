"""What intervals of a law's parameters cover, by simulation: many sweeps from known laws, every method on each of them.

    python -m analysis.laws.simulation.calibration [--sweeps=1000] [--replicates=199] [--designs=NAME,...] [--methods=NAME,...] [--seed=0]

A method is right when its intervals at every level hold the truth as often as they say and miss on either side alike, and when the truth
is as likely at one rank among the replicates as at another (simulation-based calibration: Talts et al. 2018, arXiv:1804.06788, for a
posterior; for a bootstrap it asks that the replicates stand where a posterior of a flat prior would). It is useful when they are no wider than
they must be: widths are given relative to the Gaussian interval of the information matrix with the noise's true covariance, which no unbiased
estimator beats, beside the spread of the estimates in the same units (1.25 is least absolute deviation under Gaussian noise).
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.forms.form import evaluate
from analysis.laws.intervals import bootstrap, noise
from analysis.laws.intervals.spread import spread
from analysis.laws.simulation import synthetic
from analysis.laws.simulation.synthetic import Design, NoiseModel

FloatArray = npt.NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
READINGS = {name: {**FORM.natural, **FORM.derived}[name] for name in ("alpha", "beta", "E", "a")}
_RANK_BINS = 20
_NINETY = 2 * stats.norm.ppf(0.95)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A design, its noise, and the family of truths: outer = 1 is the form that is fitted."""

    design: Design
    noise: NoiseModel
    outer: float = 1.0


SCENARIOS: dict[str, Scenario] = {
    "isoflop": Scenario(synthetic.isoflop(), NoiseModel(0.005)),
    "isoflop_quiet": Scenario(synthetic.isoflop(), NoiseModel(0.002)),
    "isoflop_heavy": Scenario(synthetic.isoflop(), NoiseModel(0.005, heavy=True, by_loss=True)),
    "grid": Scenario(synthetic.grid(), NoiseModel(0.01)),
    "ladder": Scenario(synthetic.ladder(repeated=2), NoiseModel(0.005, shared=0.5)),
    "ladder_trunks": Scenario(synthetic.ladder(trunks=10), NoiseModel(0.003, shared=0.8)),
    "scattered": Scenario(synthetic.scattered(), NoiseModel(0.005, heavy=True)),
    # Not Chinchilla's form: the truth is the Chinchilla law closest to it on these runs, which the misfit makes hard to see.
    "isoflop_wrong": Scenario(synthetic.isoflop(), NoiseModel(0.003), outer=0.6),
}
# Name -> (what is resampled, how its refits become an interval).
METHODS: dict[str, tuple[str, str]] = {
    "default": (bootstrap.AUTOMATIC, bootstrap.PERCENTILE),
    "percentile_noise": (bootstrap.NOISE, bootstrap.PERCENTILE),
    "percentile_cases": (bootstrap.CASES, bootstrap.PERCENTILE),
    "bca_noise": (bootstrap.NOISE, bootstrap.BCA),
    "bca_cases": (bootstrap.CASES, bootstrap.BCA),
    "profile": (bootstrap.NOISE, bootstrap.PROFILE),
    "profile_chi2": (bootstrap.NOISE, bootstrap.PROFILE_CHI2),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One method on one quantity of one simulated sweep.

    Attributes:
      scenario, method, reading: which.
      low_L, high_L: the intervals at :data:`LEVELS`, float64[L]; infinite where unbounded.
      truth, estimate: the quantity.
      ideal: the standard deviation that the information matrix allows.
      rank: of the truth among the replicates, between 0 and 1.
    """

    scenario: str
    method: str
    reading: str
    low_L: FloatArray
    high_L: FloatArray
    truth: float
    estimate: float
    ideal: float
    rank: float


def simulate(
    name: str, number: int, replicates: int, methods: Iterable[str] = tuple(METHODS), seed: int = 0
) -> list[Verdict]:
    """Draws one sweep of a scenario and judges every method on it.

    Args:
      name: a key of :data:`SCENARIOS`.
      number: of the sweep; equal numbers give equal sweeps.
      replicates: bootstrap replicates.
      methods: keys of :data:`METHODS`.
      seed: of all sweeps.
    """
    scenario, rng = SCENARIOS[name], np.random.default_rng([seed, number])
    design = scenario.design
    truth = synthetic.draw_truth(rng, scenario.outer)
    y_K = truth.log_loss(design) + scenario.noise.draw(design, truth, rng)
    runs = design.with_losses(y_K)
    x_KxV, w_K = fitting.variables(FORM, runs), np.ones(len(y_K))
    centre_V = fitting.centre_of(FORM, x_KxV)
    optimum = solve.solve(FORM, x_KxV - centre_V, y_K, w_K, HUBER)
    target_P, found_P = synthetic.pseudo_truth(design, truth), FORM.uncentred(optimum.theta[None], centre_V)[0]
    residual_K = y_K - evaluate(FORM, found_P[None], x_KxV)[0]
    run_noise = noise.estimate(runs, residual_K, len(found_P), solve.jacobian(FORM, found_P, x_KxV))
    covariance_PxP = least_covariance(design, scenario.noise, truth, x_KxV, target_P)
    verdicts, refits = [], {}
    for method in methods:
        scheme, interval = METHODS[method]
        draws = bootstrap.draw(runs, run_noise, replicates, np.random.default_rng([seed, number, 1]), scheme, interval)
        # Kinds of interval share the refits of equal draws.
        resampled = draws.weights_RxK is not None
        found = spread(FORM, x_KxV - centre_V, centre_V, y_K, w_K, optimum, draws, HUBER, refits.get(resampled))
        refits[resampled] = found.refits
        for reading, read in READINGS.items():
            limits = [found.estimate(reading, read, level).interval for level in LEVELS]
            low_L, high_L = (np.array(ends) for ends in zip(*limits, strict=True))
            value = float(read(target_P[None])[0])
            verdicts.append(Verdict(
                name, method, reading, low_L, high_L, value, float(read(found_P[None])[0]), _deviation(read, target_P, covariance_PxP),
                (float(np.sum(read(found.replicates) < value)) + 0.5) / (len(found.replicates) + 1),
            ))  # fmt: skip
    return verdicts


def least_covariance(design: Design, model: NoiseModel, truth, x_KxV: FloatArray, theta_P: FloatArray) -> FloatArray:  # noqa: ANN001 - Truth
    """(J V⁻¹ Jᵀ)⁻¹ with the noise's covariance V: of generalised least squares, float64[P, P]."""
    same_KxK = (design.cluster[:, None] == design.cluster).astype(np.float64)
    scale_K = model.scale(design, truth)
    covariance_KxK = scale_K[:, None] * scale_K * (model.shared * same_KxK + (1 - model.shared) * np.eye(len(design)))
    jacobian_PxK = solve.jacobian(FORM, theta_P, x_KxV)
    return np.linalg.inv(jacobian_PxK @ np.linalg.solve(covariance_KxK, jacobian_PxK.T))


def _deviation(read, theta_P: FloatArray, covariance_PxP: FloatArray) -> float:  # noqa: ANN001 - a reading
    """Standard deviation of a reading by its gradient."""
    step = 1e-6
    moved = theta_P + step * np.eye(len(theta_P))
    gradient_P = (read(moved) - read(2 * theta_P - moved)) / (2 * step)
    return float(np.sqrt(gradient_P @ covariance_PxP @ gradient_P))


@dataclasses.dataclass(frozen=True)
class Summary:
    """A method on one quantity over all sweeps of a scenario.

    Attributes:
      scenario, method, reading: which.
      sweeps: how many.
      coverage_L: of the intervals at :data:`LEVELS`.
      missed_low, missed_high: share of truths below and above the 90% interval.
      width: median width of the 90% interval over the ideal one.
      spread: the distance between the 5th and 95th percentile of the estimates' errors, in the same unit.
      unbounded: share of 90% intervals without an end.
      histogram: of the truth's ranks among the replicates, int64[bins].
      rank_p: chance of a histogram as uneven if ranks were uniform, by chi-square.
    """

    scenario: str
    method: str
    reading: str
    sweeps: int
    coverage_L: FloatArray
    missed_low: float
    missed_high: float
    width: float
    spread: float
    unbounded: float
    histogram: npt.NDArray[np.int64]
    rank_p: float

    @property
    def in_words(self) -> str:
        """A row of the table."""
        coverage = " ".join(f"{100 * share:5.1f}" for share in self.coverage_L)
        return (
            f"{self.scenario:14s} {self.method:16s} {self.reading:5s} {coverage}  {100 * self.missed_low:4.1f} {100 * self.missed_high:4.1f}  "
            f"{self.width:5.2f} {self.spread:5.2f}  {100 * self.unbounded:4.1f}  {self.rank_p:7.2g}"
        )


HEADER = (
    f"{'scenario':14s} {'method':16s} {'of':5s} {' '.join(f'{100 * level:4.0f}%' for level in LEVELS)}   low  high  "
    "width spread unb.%  rank p"
)


def summarise(verdicts: Iterable[Verdict]) -> list[Summary]:
    """Every (scenario, method, reading) over its sweeps, in the order of their appearance."""
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for item in verdicts:
        groups.setdefault((item.scenario, item.method, item.reading), []).append(item)
    return [_summary(*key, items) for key, items in groups.items()]


def _summary(scenario: str, method: str, reading: str, items: list[Verdict]) -> Summary:
    truth_S = np.array([item.truth for item in items])
    low_SxL, high_SxL = np.stack([item.low_L for item in items]), np.stack([item.high_L for item in items])
    at = LEVELS.index(0.9)
    ideal_S = np.array([item.ideal for item in items])
    width_S = (high_SxL[:, at] - low_SxL[:, at]) / (_NINETY * ideal_S)
    error_S = (np.array([item.estimate for item in items]) - truth_S) / ideal_S
    histogram = np.histogram([item.rank for item in items], bins=_RANK_BINS, range=(0, 1))[0]
    return Summary(
        scenario, method, reading, len(items), np.mean((low_SxL <= truth_S[:, None]) & (truth_S[:, None] <= high_SxL), axis=0),
        float(np.mean(truth_S < low_SxL[:, at])), float(np.mean(truth_S > high_SxL[:, at])), float(np.median(width_S)),
        float(np.subtract(*np.quantile(error_S, [0.95, 0.05])) / _NINETY), float(np.mean(np.isinf(width_S))), histogram,
        float(stats.chisquare(histogram).pvalue),
    )  # fmt: skip


def _reported(scenarios: list[str], sweeps: int, replicates: int, methods: list[str], seed: int) -> Iterator[Verdict]:
    """All verdicts, with the time left on standard error."""
    started, shown, total = time.monotonic(), 0.0, sweeps * len(scenarios)
    for done in range(total):
        yield from simulate(scenarios[done // sweeps], done % sweeps, replicates, methods, seed)
        passed = time.monotonic() - started
        if passed - shown > 15 or done == 9:
            left = passed / (done + 1) * (total - done - 1)
            print(f"{done + 1} of {total} sweeps in {passed:.0f} s, {left:.0f} s left", file=sys.stderr, flush=True)
            shown = passed


def names_of(known: dict) -> Callable[[str], list[str]]:
    """What reads a flag of names, separated by commas; an unknown one is refused with the known ones."""

    def parse(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} unknown; choose from {', '.join(known)}")
        return text.split(",")

    return parse


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description="Coverage of the intervals of a law's parameters over simulated sweeps."
    )
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps a scenario")
    parser.add_argument(
        "--replicates",
        type=int,
        default=199,
        help="bootstrap replicates a sweep; one less than a multiple of 20 fills the ranks' bins evenly",
    )
    parser.add_argument("--designs", type=names_of(SCENARIOS), default=list(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--methods", type=names_of(METHODS), default=["default"], help=", ".join(METHODS))
    parser.add_argument("--seed", type=int, default=0, help="of all sweeps")
    chosen = parser.parse_args()
    print(HEADER)
    verdicts: list[Verdict] = []
    try:
        for item in _reported(chosen.designs, chosen.sweeps, chosen.replicates, chosen.methods, chosen.seed):
            verdicts.append(item)
    except KeyboardInterrupt:
        print(f"interrupted: what follows is of {len(verdicts)} verdicts", file=sys.stderr)
    for row in summarise(verdicts):
        print(row.in_words, flush=True)


if __name__ == "__main__":
    main()
