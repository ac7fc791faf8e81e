"""Bootstrap draws over runs, shared by all laws, and the refits that turn them into intervals.

What is resampled is a *run with its own randomness*, never a checkpoint. The branches of one trunk share
initialisation, data order and trajectory up to their decay, so they are one cluster: to count five branches as five
independent runs would narrow the intervals of everything that varies between sizes.

Two schemes, chosen by the number of clusters and written into the result:

- **noise** (a parametric bootstrap): the design stays, and the losses vary around the fitted law by a noise that trunks share and a noise
  of every branch. Both standard deviations are drawn anew for every replicate from what the residuals say of them
  (:mod:`analysis.laws.intervals.components`), which widens small-sample intervals as Student's t does.
- **cases** (at least :data:`CASES_FROM` clusters): clusters are drawn with replacement within strata of like size, so that every
  replicate spans the sizes of the design (Davison and Hinkley 1997, section 3.2). It asks nothing of the noise, but needs many clusters:
  a ladder of seven trunks would lose whole sizes and the law its footing.

:mod:`analysis.laws.simulation.calibration` measures what either covers.

Approaches 1 and 2 need the design (curves and slices), so they use the noise scheme in both cases; having no law of
their own for the loss, they add the noise to what was measured.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import Objective
from analysis.laws.forms.form import Form, evaluate
from analysis.laws.intervals.noise import Noise
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

CASES_FROM = 100
_SMALLEST_STRATUM = 3

AUTOMATIC, NOISE, CASES = "automatic", "noise", "cases"
SCHEMES = (AUTOMATIC, NOISE, CASES)
# A profile is held against replicates with noise, or (PROFILE_CHI2) against the chi-square that asks for independent runs.
PERCENTILE, BCA, PROFILE, PROFILE_CHI2 = "percentile", "bca", "profile", "profile_chi2"
INTERVALS = (PERCENTILE, BCA, PROFILE, PROFILE_CHI2)


@dataclasses.dataclass(frozen=True)
class Draws:
    """R resamplings of K runs.

    Attributes:
      noise_RxK: deviations of ln L for the noise scheme.
      weights_RxK: multiplicities of runs for the case scheme; None for the noise scheme.
      cluster_K: the cluster of every run, int64[K]; None where every run is one.
      interval: what the refits become, one of :data:`INTERVALS`.
    """

    noise_RxK: FloatArray
    weights_RxK: FloatArray | None = None
    cluster_K: npt.NDArray[np.int64] | None = None
    interval: str = PERCENTILE

    def __len__(self) -> int:
        """R."""
        return len(self.noise_RxK)

    def noise_only(self) -> "Draws":
        """The same draws without the case scheme."""
        return dataclasses.replace(self, weights_RxK=None)

    def rows(self, index: npt.NDArray) -> "Draws":
        """The draws of a subset of the runs."""
        weights_RxK = None if self.weights_RxK is None else self.weights_RxK[:, index]
        cluster_K = None if self.cluster_K is None else np.unique(self.cluster_K[index], return_inverse=True)[1]
        return Draws(self.noise_RxK[:, index], weights_RxK, cluster_K, self.interval)

    @property
    def method(self) -> str:
        """How intervals of a law that is refitted came about, for `method` in laws.json."""
        if self.weights_RxK is not None:
            return f"{self._reading} of {len(self)} bootstrap replicates over runs, stratified by size"
        return self._noise_added("the fitted law", self._reading)

    @property
    def _reading(self) -> str:
        return "BCa" if self.interval == BCA else "percentile"

    @property
    def method_of_readings(self) -> str:
        """The same of approaches 1 and 2, whose replicates vary what was measured."""
        return self._noise_added("the measured losses", "percentile")

    def _noise_added(self, centre: str, reading: str) -> str:
        if not len(self):
            return "no bootstrap"
        return f"{reading} of {len(self)} bootstrap replicates: Gaussian noise, shared within trunks, added to {centre}"


NO_DRAWS = Draws(np.zeros((0, 1)))


def draw(
    table: RunsTable,
    noise: Noise,
    replicates: int,
    rng: np.random.Generator,
    scheme: str = AUTOMATIC,
    interval: str = PERCENTILE,
) -> Draws:
    """Draws resamplings of a table.

    Args:
      table: the runs, K of them.
      noise: what the noise scheme draws from.
      replicates: R.
      rng: the generator; equal generators give equal draws.
      scheme: :data:`NOISE`, :data:`CASES`, or :data:`AUTOMATIC`, by the number of clusters.
      interval: what the refits of these draws become, one of :data:`INTERVALS`.

    Raises:
      ValueError: the scheme or the interval is unknown.
    """
    if scheme not in SCHEMES or interval not in INTERVALS:
        raise ValueError(f"unknown scheme {scheme!r} or interval {interval!r}; known: {SCHEMES} and {INTERVALS}")
    cluster_K = table.codes("cluster")
    clusters, count = int(cluster_K.max()) + 1, len(table)
    between_R, within_R = _scales(noise, replicates, rng)
    shared = between_R[:, None] * rng.standard_normal((replicates, clusters))
    noise_RxK = shared[:, cluster_K] + within_R[:, None] * rng.standard_normal((replicates, count))
    if scheme == NOISE or (scheme == AUTOMATIC and clusters < CASES_FROM):
        return Draws(noise_RxK, None, cluster_K, interval)
    return Draws(noise_RxK, case_weights(cluster_K, strata(table), replicates, rng), cluster_K, interval)


def _scales(noise: Noise, replicates: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Standard deviations between and within trunks of every replicate, float64[R] each."""
    if noise.components is not None:
        return noise.components.draw(replicates, rng)
    scale_R = np.sqrt(noise.dof / rng.chisquare(noise.dof, replicates)) if replicates else np.zeros(0)
    return noise.between * scale_R, noise.within * scale_R


def strata(table: RunsTable) -> npt.NDArray[np.int64]:
    """A stratum for every run: its size, merged with the next larger sizes until a stratum has three clusters, int64[K]."""
    size_K, cluster_K = table.codes("params"), table.codes("cluster")
    stratum_of_size = np.zeros(size_K.max() + 1, np.int64)
    current, members = 0, set()
    for size in range(size_K.max() + 1):
        if len(members) >= _SMALLEST_STRATUM:
            current, members = current + 1, set()
        members |= set(cluster_K[size_K == size].tolist())
        stratum_of_size[size] = current
    if current and len(members) < _SMALLEST_STRATUM:
        stratum_of_size[stratum_of_size == current] = current - 1
    return stratum_of_size[size_K]


def case_weights(
    cluster_K: npt.NDArray[np.int64], stratum_K: npt.NDArray[np.int64], replicates: int, rng: np.random.Generator
) -> FloatArray:
    """How often each run counts when clusters are drawn with replacement within strata, float64[R, K].

    Of m clusters m − 1 are drawn and count m/(m − 1) times (Rao and Wu 1988, *Resampling inference with complex survey data*, JASA 83): m
    draws would give the variance of a stratum the factor (m − 1)/m, a third too little for strata of three.
    """
    weights_RxG = np.zeros((replicates, int(cluster_K.max()) + 1))
    stratum_G = np.zeros(weights_RxG.shape[1], np.int64)
    stratum_G[cluster_K[::-1]] = stratum_K[::-1]
    for stratum in np.unique(stratum_G):
        members = np.flatnonzero(stratum_G == stratum)
        size = len(members)
        # A lone cluster cannot be left out.
        drawn = max(1, size - 1)
        weights_RxG[:, members] = size / drawn * rng.multinomial(drawn, np.full(size, 1 / size), replicates)
    return weights_RxG[:, cluster_K]


@dataclasses.dataclass(frozen=True)
class Refits:
    """Parameters of the accepted replicates, float64[R', P], and why the others are missing."""

    theta: FloatArray
    rejected: int


def refit(
    form: Form,
    x_KxV: FloatArray,
    y_K: FloatArray,
    w_K: FloatArray,
    optimum: solve.Optimum,
    draws: Draws,
    objective: Objective,
) -> Refits:
    """Refits every draw from the optimum (warm) and once from another start (cold), and keeps the better end.

    Replicates whose better end is not an optimum are rejected and counted: they would be the optimiser's noise, not the
    data's.

    Args:
      form: the law's form.
      x_KxV: centred variables.
      y_K: responses.
      w_K: weights of the runs.
      optimum: of the whole table.
      draws: of these K runs.
      objective: what is minimised.
    """
    if not len(draws):
        return Refits(np.zeros((0, len(optimum.theta))), 0)
    if draws.weights_RxK is not None:
        y_RxK, w_RxK = y_K[None], w_K * draws.weights_RxK
    else:
        y_RxK, w_RxK = evaluate(form, optimum.theta[None], x_KxV) + draws.noise_RxK, w_K[None]
    return refit_to(form, x_KxV, y_RxK, w_RxK, optimum, objective)


def refit_to(
    form: Form,
    x_KxV: FloatArray,
    y_RxK: FloatArray,
    w_RxK: FloatArray,
    optimum: solve.Optimum,
    objective: Objective,
) -> Refits:
    """The same for responses and weights that are given; one of the two may have a single row."""
    count, bounds = max(len(y_RxK), len(w_RxK)), form.bounds(y_RxK)
    warm, cold = (
        solve.descend(form, objective, x_KxV, y_RxK, w_RxK, np.tile(start, (count, 1)), bounds)
        for start in (optimum.theta, optimum.second_start)
    )
    take_cold = (cold.objective < warm.objective * (1 - 1e-9)) & (cold.accepted | ~warm.accepted)
    theta = np.where(take_cold[:, None], cold.theta, warm.theta)
    accepted = np.where(take_cold, cold.accepted, warm.accepted)
    return Refits(theta[accepted], int(np.sum(~accepted)))
