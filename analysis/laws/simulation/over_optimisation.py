"""What the intervals of over-optimisation laws cover, on simulated reward-KL curves of a known alpha and beta.

    python -m analysis.laws.simulation.over_optimisation [--curves=1000] [--designs=NAME,...] [--level=0.9] [--seed=0]

A curve is what a study leaves: several runs (seeds, or betas times seeds), several measured policies each. The errors are those of measurement,
which grow with the distance and are reported only roughly, and what is common to the points of a run: its own alpha and beta, and, for best-of-n, one pool of
samples for all n. Beside the intervals of :mod:`analysis.laws.over_optimisation` stands the percentile bootstrap over runs, for comparison.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws import over_optimisation
from analysis.laws.forms import over_optimisation as forms
from analysis.laws.intervals import bootstrap

FloatArray = npt.NDArray[np.float64]

QUANTITIES = ("alpha", "beta", "peak_distance", "peak_reward")
_BOOTSTRAP_DRAWS = 200


@dataclasses.dataclass(frozen=True)
class Design:
    """A kind of study.

    Attributes:
      method: of :data:`analysis.laws.over_optimisation.FORMS`.
      alpha, beta: the truth: the mean over all runs that could have been made.
      runs: training runs.
      policies: measured policies a run.
      furthest: KL of the last one, in nats; of each run where there are several.
      error: standard error of the gold reward at the initial policy.
      error_growth: how much larger it is at the furthest distance.
      alpha_spread, beta_spread: standard deviations between runs.
      pooled: share of the measurement variance that neighbouring policies of a run have in common (one pool of samples).
      kl_error: relative standard error of the measured KL.
    """

    method: str
    alpha: float
    beta: float
    runs: int
    policies: int
    furthest: tuple[float, ...]
    error: float = 0.04
    error_growth: float = 2.0
    alpha_spread: float = 0.05
    beta_spread: float = 0.02
    pooled: float = 0.0
    kl_error: float = 0.02

    @property
    def truth(self) -> FloatArray:
        """alpha and beta, float64 [2]."""
        return np.array([self.alpha, self.beta])


DESIGNS: dict[str, Design] = {
    "ppo": Design("rl", 1.2, 0.45, 5, 8, (60.0,)),
    "ppo_three_seeds": Design("rl", 1.2, 0.45, 3, 8, (60.0,)),
    "dpo_betas": Design("direct_alignment", 0.30, 0.14, 9, 5, (4.0, 15.0, 50.0), 0.02, 1.5, 0.02, 0.008),
    "best_of_n": Design("best_of_n", 1.0, 0.20, 6, 9, (math.log(512) - 511 / 512,), 0.03, 3.0, 0.06, 0.015, 0.8, 0.0),
    "before_the_peak": Design(
        "best_of_n", 1.0, 0.12, 6, 7, (math.log(128) - 127 / 128,), 0.03, 3.0, 0.06, 0.01, 0.8, 0.0
    ),
}


def curve(design: Design, rng: np.random.Generator) -> pd.DataFrame:
    """One study: columns kl, gold_reward, gold_reward_error and cluster."""
    form, parts = over_optimisation.FORMS[design.method], []
    for run in range(design.runs):
        furthest = design.furthest[run % len(design.furthest)]
        if design.method == "best_of_n":
            n_K = np.round(np.geomspace(2, _n_of(furthest), design.policies))
            kl_K = forms.best_of_n_kl(n_K)
        else:
            kl_K = (
                furthest
                * np.geomspace(0.005, 1.0, design.policies)
                * np.exp(0.15 * rng.standard_normal(design.policies))
            )
        distance_K = np.sqrt(kl_K)
        own = design.truth + rng.standard_normal(2) * (design.alpha_spread, design.beta_spread)
        error_K = design.error * (1 + (design.error_growth - 1) * distance_K / math.sqrt(max(design.furthest)))
        shared = _neighbours_share(design.pooled, design.policies, rng)
        noise_K = error_K * shared
        parts.append(pd.DataFrame({
            "kl": kl_K * np.exp(design.kl_error * rng.standard_normal(design.policies)),
            "gold_reward": forms.basis(form, distance_K) @ own + noise_K,
            # A standard error is itself an estimate, here from about 64 prompts.
            "gold_reward_error": error_K * np.sqrt(rng.chisquare(63, design.policies) / 63),
            "cluster": run,
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _neighbours_share(correlation: float, count: int, rng: np.random.Generator) -> FloatArray:
    """Standard normal errors whose neighbours correlate (autoregressive)."""
    fresh_K = rng.standard_normal(count)
    for index in range(1, count):
        fresh_K[index] = correlation * fresh_K[index - 1] + math.sqrt(1 - correlation**2) * fresh_K[index]
    return fresh_K


def _n_of(kl: float) -> int:
    """The n whose ln n - (n-1)/n is `kl`."""
    return int(round(math.exp(kl + 1)))


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth.

    Attributes:
      design, method: what was simulated, and how intervals were made.
      curves: how many.
      held: quantity -> share of curves whose interval holds the truth (None: not made by this method).
      unbounded: share of curves whose interval of the peak has no upper end.
      width: median width of alpha's interval.
    """

    design: str
    method: str
    curves: int
    held: dict[str, float]
    unbounded: float
    width: float

    @property
    def in_words(self) -> str:
        """One line of the report."""
        held = "".join(f"{100 * self.held[name]:>14.1f}%" for name in QUANTITIES)
        return f"{self.design:18}{self.method:12}{self.curves:>7}{held}{100 * self.unbounded:>10.0f}%{self.width:>9.3f}"


HEADER = (
    f"{'design':18}{'intervals':12}{'curves':>7}"
    + "".join(f"{name:>15}" for name in QUANTITIES)
    + f"{'no end':>11}{'width':>9}"
)


def study(name: str, curves: int, level: float = 0.9, seed: int = 0) -> list[Coverage]:
    """Coverage of both kinds of interval over many curves of one design."""
    design, seeds = DESIGNS[name], np.random.SeedSequence([seed, list(DESIGNS).index(name)]).spawn(curves)
    truth = _quantities(design)
    found: dict[str, list[dict[str, tuple[float, float]]]] = {"clustered": [], "bootstrap": []}
    for child in seeds:
        rng = np.random.default_rng(child)
        frame = curve(design, rng)
        law = over_optimisation.fit(frame, design.method, 0, level, rng)
        found["clustered"].append({key: item.interval for key, item in {**law.parameters, **law.derived}.items()})
        found["bootstrap"].append(_bootstrapped(frame, design, level, rng))
    return [
        Coverage(
            name, method, curves,
            {key: float(np.mean([item[key][0] <= truth[key] <= item[key][1] for item in items])) for key in QUANTITIES},
            float(np.mean([np.isinf(item["peak_distance"][1]) for item in items])),
            float(np.median([item["alpha"][1] - item["alpha"][0] for item in items])),
        )
        for method, items in found.items()
    ]  # fmt: skip


def _quantities(design: Design) -> dict[str, float]:
    form = over_optimisation.FORMS[design.method]
    readings = {**form.natural, **form.derived}
    return {name: float(readings[name](design.truth[None])[0]) for name in QUANTITIES}


def _bootstrapped(
    frame: pd.DataFrame, design: Design, level: float, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Percentile intervals over resampled runs."""
    form, table = over_optimisation.FORMS[design.method], over_optimisation.points(frame, design.method)
    x_KxP = forms.basis(form, table.distance_K)
    drawn_RxK = bootstrap.case_weights(table.cluster_K, np.zeros(len(frame), np.int64), _BOOTSTRAP_DRAWS, rng)
    weight_RxK = drawn_RxK * table.weight_K
    gram_RxPxP = np.einsum("kp,rk,kq->rpq", x_KxP, weight_RxK, x_KxP)
    right_RxP = np.einsum("kp,rk,k->rp", x_KxP, weight_RxK, table.reward_K)
    theta_RxP = np.linalg.solve(gram_RxPxP, right_RxP[..., None])[..., 0]
    tails = [(1 - level) / 2, (1 + level) / 2]
    readings = {**form.natural, **form.derived}
    return {
        name: tuple(float(bound) for bound in np.quantile(readings[name](theta_RxP), tails, method="nearest"))
        for name in QUANTITIES
    }


def _report(names: list[str], curves: int, level: float, seed: int) -> Iterator[str]:
    yield f"coverage of {100 * level:.0f}% intervals"
    yield HEADER
    for name in names:
        for row in study(name, curves, level, seed):
            yield row.in_words


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals of over-optimisation laws.")
    parser.add_argument("--curves", type=int, default=1000, help="simulated curves a design")
    parser.add_argument("--designs", default=",".join(DESIGNS), help=f"of {', '.join(DESIGNS)}")
    parser.add_argument("--level", type=float, default=0.9, help="nominal coverage")
    parser.add_argument("--seed", type=int, default=0, help="of all curves")
    chosen = parser.parse_args()
    names = chosen.designs.split(",")
    unknown = [name for name in names if name not in DESIGNS]
    if unknown:
        parser.error(f"{', '.join(unknown)} unknown; choose from {', '.join(DESIGNS)}")
    for line in _report(names, chosen.curves, chosen.level, chosen.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
