"""Synthetic sweeps: a design (which runs), a truth drawn from a prior, and the noise of its runs.

Everything is stated where the runs are: a truth's terms are given at the centre of the design, in nats, so that the same
prior is plausible for a ladder of toy models and for a sweep of real ones.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import least_squares
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.tables import sources, table

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Chinchilla's frontier: about twenty tokens a parameter.
_TOKENS_PER_PARAMETER = 20.0
_STUDENT_DOF = 3.0


@dataclasses.dataclass(frozen=True)
class Design:
    """Which runs are made.

    Attributes:
      name: of the design.
      log_params: ln N, float64[K].
      log_tokens: ln D, float64[K].
      cluster: runs of one trunk share a number, int64[K].
      seed: of each run, int64[K]; runs that differ in it alone are replicates.
    """

    name: str
    log_params: FloatArray
    log_tokens: FloatArray
    cluster: IntArray
    seed: IntArray

    def __len__(self) -> int:
        """K."""
        return len(self.log_params)

    @property
    def log_compute(self) -> FloatArray:
        """ln 6ND, float64[K]."""
        return np.log(6.0) + self.log_params + self.log_tokens

    @functools.cached_property
    def _table(self) -> table.RunsTable:
        """The runs with a loss that stands for none; checking and sorting a table takes longer than fitting it."""
        frame = pd.DataFrame({
            "run_id": [f"run{index}" for index in range(len(self))],
            "params": np.exp(self.log_params), "tokens": np.exp(self.log_tokens), "flops": np.exp(self.log_compute),
            "loss": 2.0 + 1e-3 * np.arange(len(self)), "seed": self.seed, "cluster": [f"trunk{number}" for number in self.cluster],
        })  # fmt: skip
        return table.build(sources.from_frame(frame))

    def joined(self, other: "Design") -> "Design":
        """These runs and others, whose trunks are their own where their numbers are."""
        names = ("log_params", "log_tokens", "cluster", "seed")
        columns = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        return Design(self.name, *columns)

    def with_losses(self, log_loss_K: FloatArray) -> table.RunsTable:
        """The runs table of these runs with these losses, in the order of the design."""
        return dataclasses.replace(self._table, frame=self._table.frame.assign(loss=np.exp(log_loss_K)))


def _design(name: str, log_params: FloatArray, log_tokens: FloatArray, cluster: IntArray | None = None) -> Design:
    count = len(log_params)
    return Design(
        name, log_params, log_tokens, np.arange(count) if cluster is None else cluster, np.zeros(count, np.int64)
    )


def isoflop(
    budgets: int = 6, sizes: int = 7, lowest: float = 1e17, highest: float = 1e20, spread: float = 6.0
) -> Design:
    """An IsoFLOP grid: at every budget, sizes from 1/spread to spread times the frontier's; independent runs.

    Args:
      budgets: how many budgets.
      sizes: how many sizes a budget.
      lowest: FLOPs of the cheapest budget.
      highest: FLOPs of the dearest.
      spread: reach of the sizes around the frontier, as a factor.
    """
    flops = np.repeat(np.geomspace(lowest, highest, budgets), sizes)
    params = np.sqrt(flops / (6 * _TOKENS_PER_PARAMETER)) * np.tile(np.geomspace(1 / spread, spread, sizes), budgets)
    return _design("isoflop", np.log(params), np.log(flops / (6 * params)))


def grid(sizes: int = 6, horizons: int = 6, smallest: float = 2e7, reach: float = 64.0) -> Design:
    """Every size at every token budget, both over `reach`; independent runs."""
    params = np.repeat(np.geomspace(smallest, reach * smallest, sizes), horizons)
    shortest = _TOKENS_PER_PARAMETER * smallest
    tokens = np.tile(np.geomspace(shortest, reach * shortest, horizons), sizes)
    return _design("grid", np.log(params), np.log(tokens))


def ladder(
    trunks: int = 8, branches: int = 5, smallest: float = 2e7, reach: float = 128.0, repeated: int = 0
) -> Design:
    """A size a trunk, branches at growing horizons, which grow with the size; branches of a trunk share its randomness.

    Args:
      trunks: how many sizes.
      branches: token budgets a size.
      smallest: parameters of the smallest size.
      reach: largest size over smallest.
      repeated: how many sizes are trained with two more seeds, each of those trunks with one branch in the middle.
    """
    sizes = np.geomspace(smallest, reach * smallest, trunks)
    params = np.repeat(sizes, branches)
    stretch = np.geomspace(0.25, 16.0, branches)
    tokens = (
        _TOKENS_PER_PARAMETER * np.repeat(np.sqrt(sizes * smallest) * reach**0.25, branches) * np.tile(stretch, trunks)
    )
    cluster, seed = np.repeat(np.arange(trunks), branches), np.zeros(trunks * branches, np.int64)
    for place in np.linspace(1, trunks - 2, repeated).round().astype(int):
        middle = place * branches + branches // 2
        params, tokens = (np.append(column, [column[middle]] * 2) for column in (params, tokens))
        cluster, seed = np.append(cluster, cluster.max() + np.array([1, 2])), np.append(seed, [1, 2])
    return Design("ladder", np.log(params), np.log(tokens), cluster, seed)


def scattered(runs: int = 240, lowest: float = 1e18, highest: float = 1e22) -> Design:
    """Runs without a grid, log-uniform in FLOPs and in size around the frontier: what was digitised from Hoffmann et al.'s figure 4."""
    rng = np.random.default_rng(0)
    flops = np.exp(rng.uniform(np.log(lowest), np.log(highest), runs))
    params = np.sqrt(flops / (6 * _TOKENS_PER_PARAMETER)) * np.exp(rng.uniform(-np.log(6), np.log(6), runs))
    return _design("scattered", np.log(params), np.log(flops / (6 * params)))


@dataclasses.dataclass(frozen=True)
class Truth:
    """A law that is known, by its terms at the centre of a design.

    Attributes:
      irreducible: E, in nats.
      size_term: A/N^alpha at the centre, in nats.
      data_term: B/D^beta at the centre, in nats.
      alpha: exponent of N.
      beta: exponent of D.
      outer: power of the sum of the two terms (held at its value at the centre): 1 is Chinchilla's form, anything else is not.
    """

    irreducible: float
    size_term: float
    data_term: float
    alpha: float
    beta: float
    outer: float = 1.0

    def log_loss(self, design: Design, about: Design | None = None) -> FloatArray:
        """ln L of every run without noise, float64[K]; the centre is that of `about`, or of the runs themselves."""
        centre = about or design
        n = design.log_params - centre.log_params.mean()
        d = design.log_tokens - centre.log_tokens.mean()
        at_centre = self.size_term + self.data_term
        terms = (self.size_term * np.exp(-self.alpha * n) + self.data_term * np.exp(-self.beta * d)) / at_centre
        return np.log(self.irreducible + at_centre * terms**self.outer)


def draw_truth(rng: np.random.Generator, outer: float = 1.0) -> Truth:
    """A plausible truth: E 1.5 to 2.2 nats, exponents 0.28 to 0.5, either term 0.2 to 0.6 nats at the centre.

    Chinchilla at 1e9 parameters and 2e10 tokens has E = 1.82, terms of 0.36 and 0.35, and exponents of 0.35 and 0.37
    (Besiroglu et al. 2024, arXiv:2404.10102).
    """
    size_term, data_term = np.exp(rng.uniform(np.log(0.2), np.log(0.6), 2))
    alpha, beta = rng.uniform(0.28, 0.5, 2)
    return Truth(rng.uniform(1.5, 2.2), size_term, data_term, alpha, beta, outer)


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """How ln L strays from the law.

    Attributes:
      spread: its standard deviation (at the mean loss where it depends on the loss).
      shared: share of its variance that the runs of a trunk have in common.
      heavy: whether runs draw from Student's t of three degrees of freedom, of the same standard deviation.
      by_loss: whether the spread grows with the reducible loss.
    """

    spread: float
    shared: float = 0.0
    heavy: bool = False
    by_loss: bool = False

    def scale(self, design: Design, truth: Truth, about: Design | None = None) -> FloatArray:
        """The standard deviation of every run's noise, float64[K]; the truth and the mean loss are stated where `about` is."""
        if not self.by_loss:
            return np.full(len(design), self.spread)
        centre = about or design
        reducible_K, usual_K = (np.exp(truth.log_loss(runs, centre)) - truth.irreducible for runs in (design, centre))
        return self.spread * reducible_K / usual_K.mean()

    def draw(self, design: Design, truth: Truth, rng: np.random.Generator, about: Design | None = None) -> FloatArray:
        """Deviations of ln L, float64[K]; `about` as in :meth:`scale`."""
        trunk_K = rng.standard_normal(design.cluster.max() + 1)[design.cluster]
        if self.heavy:
            own_K = rng.standard_t(_STUDENT_DOF, len(design)) * np.sqrt(1 - 2 / _STUDENT_DOF)
        else:
            own_K = rng.standard_normal(len(design))
        return self.scale(design, truth, about) * (np.sqrt(self.shared) * trunk_K + np.sqrt(1 - self.shared) * own_K)


def pseudo_truth(design: Design, truth: Truth) -> FloatArray:
    """Chinchilla's parameters closest to a truth on the runs of a design, float64[P]; the truth's own where it has that form."""
    x_KxV = np.stack([design.log_params, design.log_tokens], axis=1)
    centre_V = x_KxV.mean(axis=0)
    theta_P = np.append(np.log([truth.size_term, truth.data_term, truth.irreducible]), [truth.alpha, truth.beta])
    if truth.outer != 1.0:
        y_K = truth.log_loss(design)
        theta_P = solve.solve(FORM, x_KxV - centre_V, y_K, np.ones(len(y_K)), least_squares()).theta
    return FORM.uncentred(theta_P[None], centre_V)[0]
