"""Profile likelihood: one number is held, the rest are refitted, and the values whose deviance is not too large are the interval.

The likelihood is the one that the fit maximises, at the scale that fits it best (:func:`analysis.laws.intervals.likelihood.deviance`). Its
signed root r(v) = sign(v̂ − v) sqrt(deviance(v) − deviance(v̂)) is standard normal when runs are independent, many, and of the density that the
objective implies (Barndorff-Nielsen and Cox 1994, *Inference and Asymptotics*, section 4.4): the chi-square that textbooks invert. Runs of one
trunk are not independent, and Huber's density is not that of the noise, so the roots of replicates at the estimate they were drawn from can take
the normal's place.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import interpolate, stats

from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import Objective
from analysis.laws.forms.form import Form, evaluate
from analysis.laws.intervals import likelihood
from analysis.laws.intervals.held import held, holds

FloatArray = npt.NDArray[np.float64]

# Where the deviance is evaluated, in standard deviations from the estimate: first near it, then, where it does not rise, far out.
_NEAR = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 6.5)
_FAR = (10.0, 15.0, 25.0, 50.0, 100.0, 300.0, 1000.0)
# The root that a profile must reach to serve every level up to 0.99, replicates included.
_ROOT = 5.0
_FEWEST = 50


@dataclasses.dataclass(frozen=True)
class Profile:
    """The signed root of one number's deviance.

    Attributes:
      estimate: the number.
      value_Q: where the deviance is known, ascending.
      root_Q: sign(value − estimate)·sqrt(deviance − least deviance), ascending.
      reference_R: the same of replicates at their truth, with the sign of (estimate − truth); None for the normal distribution.
    """

    estimate: float
    value_Q: FloatArray
    root_Q: FloatArray
    reference_R: FloatArray | None = None

    @property
    def reference_in_words(self) -> str:
        """What the deviance was held against."""
        if self.reference_R is None:
            return "by the chi-square distribution"
        return f"calibrated by {len(self.reference_R)} replicates with noise, shared within trunks"

    def interval(self, level: float) -> tuple[float, float]:
        """All values whose root is between the quantiles of the reference; infinite where no value is excluded on that side."""
        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        low, high = stats.norm.ppf(tails) if self.reference_R is None else np.quantile(self.reference_R, tails)
        # An estimate that lies above its truth by a large root tells of a low truth.
        return self._at(-high, -np.inf), self._at(-low, np.inf)

    def _at(self, root: float, beyond: float) -> float:
        if not self.root_Q[0] <= root <= self.root_Q[-1]:
            return beyond
        rising = np.flatnonzero(np.diff(self.root_Q, prepend=-np.inf) > 0)
        return float(interpolate.PchipInterpolator(self.root_Q[rising], self.value_Q[rising])(root))


@dataclasses.dataclass(frozen=True)
class Problem:
    """What was fitted: a form to K runs, and where it ended.

    Attributes:
      form: the law's form.
      x_KxV: centred variables.
      centre_V: what was subtracted.
      y_K: responses.
      w_K: weights.
      theta_P: the optimum, centred.
      least: its objective.
      objective: what is minimised.
    """

    form: Form
    x_KxV: FloatArray
    centre_V: FloatArray
    y_K: FloatArray
    w_K: FloatArray
    theta_P: FloatArray
    least: float
    objective: Objective

    def natural(self, theta_RxP: FloatArray) -> FloatArray:
        """What :func:`holds` can hold of every row of centred parameters, float64[R, H]."""
        theta_RxP = self.form.uncentred(theta_RxP, self.centre_V)
        return np.stack([
            theta_RxP[:, self.form.names.index(hold.name)] if hold.name in self.form.names else self.form.derived[hold.name](theta_RxP)
            for hold in holds(self.form)
        ], axis=1)  # fmt: skip

    def allows(self, which: int, at: float) -> bool:
        """Whether number `which` may be `at`: inside the form's bounds, or between zero and one for a ratio."""
        hold, (low_P, high_P) = holds(self.form)[which], self.form.bounds(self.y_K)
        if hold.name not in self.form.names:
            return 0 < at < 1
        is_coefficient = hold.place < len(getattr(self.form, "coefficients", ()))
        return is_coefficient or bool(low_P[hold.place] <= at <= high_P[hold.place])

    def deviances(self, objective_R: FloatArray) -> FloatArray:
        """−2 ln(likelihood) of sums of losses, float64[R]."""
        return likelihood.deviances(objective_R, float(self.w_K.sum()), self.objective)

    def refit(
        self, which_R: npt.NDArray[np.int64], at_R: FloatArray, y_RxK: FloatArray, start_RxP: FloatArray
    ) -> FloatArray:
        """The least objective with number `which` held at `at`, float64[R]; infinite where none was found."""
        form = held(self.form)
        x_RxKxC = form.columns(self.x_KxV, self.centre_V, which_R.astype(np.float64), at_R)
        bounds = self.form.bounds(self.y_K)
        found = solve.descend(form, self.objective, x_RxKxC, y_RxK, self.w_K[None], start_RxP, bounds)
        return np.where(found.accepted, found.objective, np.inf)


def profiles(problem: Problem, noise_RxK: FloatArray | None = None) -> Mapping[str, Profile]:
    """The profile of everything that can be held, by name.

    Args:
      problem: what was fitted.
      noise_RxK: deviations of ln L; with fifty at least, replicates of the fitted law with these deviations are the reference in the
        place of the normal distribution.
    """
    found = {}
    if not holds(problem.form):
        return found
    estimate_H = problem.natural(problem.theta_P[None])[0]
    calibrated = noise_RxK is not None and len(noise_RxK) >= _FEWEST
    reference_RxH = _reference(problem, estimate_H, noise_RxK) if calibrated else None
    for index, points in enumerate(_points(problem, estimate_H)):
        value_Q, root_Q = np.array(sorted(points)).T
        known = np.isfinite(root_Q)
        # A refit that ended in a worse optimum must not make the root fall.
        root_Q = np.maximum.accumulate(root_Q[known])
        reference_R = None if reference_RxH is None else reference_RxH[:, index]
        found[holds(problem.form)[index].name] = Profile(float(estimate_H[index]), value_Q[known], root_Q, reference_R)
    return found


def _points(problem: Problem, estimate_H: FloatArray) -> list[list[tuple[float, float]]]:
    """(value, signed root) of every number, near its estimate and, on a side where the root stays small, far out."""
    deviation_H, least = _deviations(problem, estimate_H), problem.deviances(np.array([problem.least]))[0]
    points = [[(float(estimate), 0.0)] for estimate in estimate_H]
    for steps in (_NEAR, _FAR):
        wanted = [
            (index, float(estimate_H[index] + side * step * deviation_H[index]), side)
            for index in range(len(estimate_H))
            for side in (-1, 1)
            if max(side * root for _, root in points[index]) < _ROOT
            for step in steps
        ]
        wanted = [item for item in wanted if problem.allows(item[0], item[1])]
        if not wanted:
            continue
        which_R, at_R, side_R = (np.array(column) for column in zip(*wanted, strict=True))
        start_RxP = np.tile(problem.theta_P, (len(wanted), 1))
        excess_R = problem.deviances(problem.refit(which_R, at_R, problem.y_K[None], start_RxP)) - least
        root_R = side_R * np.sqrt(np.maximum(excess_R, 0.0))
        for index, at, root in zip(which_R, at_R, root_R, strict=True):
            points[index].append((float(at), float(root)))
    return points


def _deviations(problem: Problem, estimate_H: FloatArray) -> FloatArray:
    """Rough standard deviations, by least squares around the optimum, for the steps of a profile."""
    jacobian_PxK = solve.jacobian(problem.form, problem.theta_P, problem.x_KxV) * np.sqrt(problem.w_K)
    residual_K = problem.y_K - evaluate(problem.form, problem.theta_P[None], problem.x_KxV)[0]
    variance = max(float(problem.w_K @ residual_K**2) / max(1.0, problem.w_K.sum() - len(problem.theta_P)), 1e-24)
    covariance_PxP = variance * np.linalg.pinv(jacobian_PxK @ jacobian_PxK.T)
    step = 1e-6
    moved = problem.natural(problem.theta_P + step * np.eye(len(problem.theta_P)))
    gradient_PxH = (moved - estimate_H) / step
    return np.sqrt(np.maximum(np.sum(gradient_PxH * (covariance_PxP @ gradient_PxH), axis=0), 1e-24))


def _reference(problem: Problem, estimate_H: FloatArray, noise_RxK: FloatArray) -> FloatArray:
    """Signed roots of replicates of the fitted law at the law they were drawn from, float64[R', H]."""
    form, start_P, count = problem.form, problem.theta_P, len(noise_RxK)
    y_RxK = evaluate(form, start_P[None], problem.x_KxV) + noise_RxK
    start_RxP = np.tile(start_P, (count, 1))
    free = solve.descend(
        form, problem.objective, problem.x_KxV, y_RxK, problem.w_K[None], start_RxP, form.bounds(y_RxK)
    )
    natural_RxH, least_R = problem.natural(free.theta), problem.deviances(free.objective)
    roots = []
    for index, at in enumerate(estimate_H):
        held_R = problem.refit(np.full(count, index), np.full(count, at), y_RxK, free.theta)
        excess_R = problem.deviances(held_R) - least_R
        roots.append(np.sign(natural_RxH[:, index] - at) * np.sqrt(np.maximum(excess_R, 0.0)))
    return np.stack(roots, axis=1)[free.accepted]
