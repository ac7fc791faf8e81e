"""What the draws of a fit say of its numbers: replicates, and whatever else the chosen kind of interval needs."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import Objective
from analysis.laws.forms.form import Form
from analysis.laws.intervals import bca, bootstrap, profile
from analysis.laws.result import Estimate, estimate

FloatArray = npt.NDArray[np.float64]

# Replicates that calibrate a profile; each refits every number that can be held.
_REFERENCE = 400
_FEWEST = 20
# Of a parameter, to see which of them a number depends on.
_STEP = 1e-4


@dataclasses.dataclass(frozen=True)
class Spread:
    """The uncertainty of fitted parameters, which are not centred here.

    Attributes:
      form: the law's form.
      theta: the estimate, float64[P].
      replicates: of accepted refits, float64[R', P].
      refits: the same as the engine sees them, with the count of those rejected.
      draws: what was refitted.
      jackknife: estimates without each cluster, float64[G, P]; None but for BCa.
      profiles: by the name of the number that was held; empty but for profile likelihood.
    """

    form: Form
    theta: FloatArray
    replicates: FloatArray
    refits: bootstrap.Refits
    draws: bootstrap.Draws
    jackknife: FloatArray | None = None
    profiles: Mapping[str, profile.Profile] = dataclasses.field(default_factory=dict)

    @property
    def method(self) -> str:
        """How intervals came about that were not read from a profile."""
        return self.draws.method if len(self.draws) else "no bootstrap"

    def estimate(self, name: str, reading: Callable[[FloatArray], FloatArray], level: float) -> Estimate:
        """A number with its interval.

        Args:
          name: as the form prints it.
          reading: (theta [R, P]) -> the number [R].
          level: nominal coverage.
        """
        value, replicates_R = float(reading(self.theta[None])[0]), reading(self.replicates)
        if profiled := self._profiled(name, reading, level):
            return Estimate(value, profiled[0], level, profiled[1])
        plain = estimate(value, replicates_R, level, self.method)
        if (
            self.jackknife is None
            or plain.interval is None
            or len(self.jackknife) < 2
            or not np.isfinite(replicates_R).all()
        ):
            return plain
        return dataclasses.replace(plain, interval=bca.interval(value, replicates_R, reading(self.jackknife), level))

    def _profiled(
        self, name: str, reading: Callable[[FloatArray], FloatArray], level: float
    ) -> tuple[tuple[float, float], str] | None:
        """Interval and method, from the profile of the number itself or of the one parameter that it is a rising function of."""
        if name in self.profiles and name in self.form.derived:
            source, place = self.profiles[name], None
        else:
            moved = reading(np.concatenate([self.theta[None], self.theta + _STEP * np.eye(len(self.theta))]))
            places = np.flatnonzero(moved[1:] != moved[0])
            if len(places) != 1 or self.form.names[places[0]] not in self.profiles or moved[1 + places[0]] < moved[0]:
                return None
            source, place = self.profiles[self.form.names[places[0]]], places[0]
        interval = source.interval(level)
        words = [
            f", unbounded {end}" for end, limit in zip(("below", "above"), interval, strict=True) if np.isinf(limit)
        ]
        method = f"profile likelihood, {source.reference_in_words}" + "".join(words)
        if place is None:
            return interval, method
        ends = np.tile(self.theta, (2, 1))
        ends[:, place] = interval
        low, high = reading(ends)
        return (float(low), float(high)), method


def spread(
    form: Form,
    x_KxV: FloatArray,
    centre_V: FloatArray,
    y_K: FloatArray,
    w_K: FloatArray,
    optimum: solve.Optimum,
    draws: bootstrap.Draws,
    objective: Objective,
    refits: bootstrap.Refits | None = None,
) -> Spread:
    """Refits the draws and does what their kind of interval needs.

    Args:
      form: the law's form.
      x_KxV: centred variables.
      centre_V: what was subtracted from them.
      y_K: responses.
      w_K: weights.
      optimum: of all runs, centred.
      draws: of these K runs.
      objective: what is minimised.
      refits: of these draws, where they are known already.
    """
    refits = bootstrap.refit(form, x_KxV, y_K, w_K, optimum, draws, objective) if refits is None else refits
    found = Spread(
        form,
        form.uncentred(optimum.theta[None], centre_V)[0],
        form.uncentred(refits.theta, centre_V),
        refits,
        draws,
    )
    if len(draws) < _FEWEST or draws.interval == bootstrap.PERCENTILE:
        return found
    if draws.interval == bootstrap.BCA:
        cluster_K = np.arange(len(y_K)) if draws.cluster_K is None else draws.cluster_K
        left_out = bca.leave_one_out(form, x_KxV, y_K, w_K, optimum.theta, cluster_K, objective)
        return dataclasses.replace(found, jackknife=form.uncentred(left_out, centre_V))
    if not (objective.is_huber or objective.is_squares):
        # Counts have a likelihood of known scale; their laws keep percentiles, and say so.
        return found
    problem = profile.Problem(form, x_KxV, centre_V, y_K, w_K, optimum.theta, optimum.objective, objective)
    reference_RxK = draws.noise_RxK[:_REFERENCE] if draws.interval == bootstrap.PROFILE else None
    return dataclasses.replace(found, profiles=profile.profiles(problem, reference_RxK))
