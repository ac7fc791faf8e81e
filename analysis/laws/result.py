"""What a law returns: parameters with intervals, how they were obtained, a certificate, and flags in words."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# (parameters_RxP, logarithms [Q] of variables by name) -> ln L [R, Q]; the variables that a law ignores may be NaN.
Predictor = Callable[[FloatArray, Mapping[str, FloatArray]], FloatArray]

# A gradient this far from zero, relative to what it could be, is no optimum (:mod:`analysis.laws.fitting.engine`).
ACCEPTED_GRADIENT = 1e-7
_CLOSE_SECOND = 0.01
_LOST_CONDITION = 1e5


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
      value: the point estimate.
      interval: (low, high), or None where none could be had.
      level: the interval's nominal coverage.
      method: how the interval was obtained, in words.
    """

    value: float
    interval: tuple[float, float] | None = None
    level: float = 0.9
    method: str = "none"

    def to_json(self) -> dict[str, Any]:
        """JSON numbers or null, never NaN."""
        interval = None if self.interval is None else [finite(bound) for bound in self.interval]
        if interval is not None and None in interval:
            interval = None
        return {"value": finite(self.value), "interval": interval, "level": self.level, "method": self.method}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Whether the numbers are the optimum of the stated objective, and whether the data determine them.

    Attributes:
      starts: optimisations run, and `starts_at_best` of them that ended at the reported optimum.
      distinct_optima: local optima met, the reported one included.
      second_gap: relative excess of the second-best optimum's objective; None when only one was met.
      gradient_relative: largest |gradient| over (delta · sum of weights · mean |derivative|), per parameter.
      active_bounds: parameters that ended on a bound.
      condition_number: of the Jacobian with columns scaled to unit length, in centred coordinates.
      identifiability: `good`, `weak` or `none`, judged by the condition number and the intervals.
      about: the part of the law that was optimised; empty for all of it.
      ridge: two optima that the data cannot tell apart, in words (parameters as the optimiser sees them, centred); empty without.
    """

    starts: int
    starts_at_best: int
    distinct_optima: int
    second_gap: float | None
    gradient_relative: float
    active_bounds: tuple[str, ...]
    condition_number: float
    identifiability: str
    about: str = ""
    ridge: str = ""

    def to_json(self) -> dict[str, Any]:
        """Every field as a JSON value."""
        values = dataclasses.asdict(self)
        return {name: finite(value) if isinstance(value, float) else _plain(value) for name, value in values.items()}

    @property
    def objections(self) -> tuple[str, ...]:
        """Why the numbers are not, or may not be, the optimum or determined by the data; in words."""
        found = []
        if not self.gradient_relative < ACCEPTED_GRADIENT:
            found.append(
                f"the optimiser stopped before the optimum (relative gradient {self.gradient_relative:.1e}, at an optimum below "
                f"{ACCEPTED_GRADIENT:.0e}): these numbers are where it stopped"
            )
        if self.active_bounds:
            found.append(f"{', '.join(self.active_bounds)} ran to a bound: this table does not determine it")
        if not self.ridge and self.second_gap is not None and self.second_gap < _CLOSE_SECOND:
            found.append(f"a second optimum is only {100 * self.second_gap:.2g}% worse")
        if self.ridge:
            found.append(
                f"not identified: two optima far apart are equally likely on these runs ({self.ridge}): a flat ridge"
            )
        elif self.identifiability == "none" and self.condition_number < _LOST_CONDITION:
            found.append(
                "not identified: too many replicates run to a bound, so an interval has no end there (the flags say which)"
            )
        elif self.identifiability == "none":
            found.append(
                f"not identified: condition number {self.condition_number:.3g}; a ridge of parameters fits these runs equally well, so read "
                "the curve and not the parameters"
            )
        elif self.identifiability != "good":
            found.append(
                f"weak identifiability: condition number {self.condition_number:.3g}; parameters trade off against each other, so read "
                "their intervals and not their values"
            )
        return tuple(found)

    @property
    def trusted(self) -> bool:
        """Whether this is an optimum inside the bounds that the data determine at all."""
        return self.gradient_relative < ACCEPTED_GRADIENT and not self.active_bounds and self.identifiability != "none"

    def in_words(self) -> str:
        """One sentence for a table of a report."""
        second = "" if self.second_gap is None else f" (the second is {100 * self.second_gap:.2g}% worse)"
        bounds = f"; on a bound: {', '.join(self.active_bounds)}" if self.active_bounds else ""
        optima = "one optimum" if self.distinct_optima == 1 else f"{self.distinct_optima} optima"
        return (
            f"{self.starts_at_best} of {self.starts} starts reached it, {optima} met{second}; "
            f"relative gradient {self.gradient_relative:.0e}; conditioning {self.condition_number:.3g}; "
            f"identifiability {self.identifiability}{f' (of {self.about} alone)' if self.about else ''}{bounds}"
        )


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A loss in nats per token: `value` with `interval` at `level`, from the uncertainty of the parameters alone."""

    value: FloatArray
    low: FloatArray
    high: FloatArray
    level: float


@dataclasses.dataclass(frozen=True)
class Result:
    """A fitted law.

    Attributes:
      name: its key in laws.json.
      form: its equation in words of mathematics.
      source: the paper and equation it comes from.
      parameters: the numbers of the equation.
      derived: what follows from them (exponents of the optimum, ...).
      objective: the value that was minimised, by the objective's name; None where nothing was.
      objective_name: e.g. `sum Huber(1e-3) of log residuals`.
      certificate: of the optimum; None for laws without an optimisation.
      flags: reasons to distrust or qualify the numbers, in words.
      run_ids: the runs that entered.
      theta: the parameters as the predictor takes them, float64[P].
      replicates: bootstrap replicates of `theta`, float64[R, P]; R may be 0.
      predictor: the curve.
      details: arrays for plots (points, curves), never written to laws.json.
    """

    name: str
    form: str
    source: str
    parameters: Mapping[str, Estimate]
    derived: Mapping[str, Estimate]
    objective: float | None
    objective_name: str
    certificate: Certificate | None
    flags: tuple[str, ...]
    run_ids: tuple[str, ...]
    theta: FloatArray
    replicates: FloatArray
    predictor: Predictor
    level: float = 0.9
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def log_loss(self, params=np.nan, tokens=np.nan, flops=np.nan, **others) -> FloatArray:  # noqa: ANN001, ANN003 - any array-like
        """ln L of the point estimate, float64[Q]; arguments broadcast, those the law ignores may be left out."""
        return self.predictor(self.theta[None, :], _logs(params=params, tokens=tokens, flops=flops, **others))[0]

    def log_loss_replicates(self, params=np.nan, tokens=np.nan, flops=np.nan, **others) -> FloatArray:  # noqa: ANN001, ANN003
        """ln L of every bootstrap replicate, float64[R, Q]."""
        return self.predictor(self.replicates, _logs(params=params, tokens=tokens, flops=flops, **others))

    def predict(self, params=np.nan, tokens=np.nan, flops=np.nan, level: float | None = None, **others) -> Prediction:  # noqa: ANN001, ANN003
        """The law's loss with the interval that its parameters' uncertainty implies.

        For a run that is still to be trained see :mod:`analysis.laws.forecasts.forecast`, which adds noise and doubt of the
        form.

        Raises:
          ValueError: the law needs a variable that was not given.
        """
        level = self.level if level is None else level
        value = np.exp(self.log_loss(params, tokens, flops, **others))
        if not np.isfinite(value).all():
            raise ValueError(f"{self.name} needs other variables than were given: its form is {self.form}")
        if not len(self.replicates):
            return Prediction(value, np.full_like(value, np.nan), np.full_like(value, np.nan), level)
        tail = 50 * (1 - level)
        low, high = np.exp(
            np.percentile(self.log_loss_replicates(params, tokens, flops, **others), [tail, 100 - tail], axis=0)
        )
        return Prediction(value, low, high, level)

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json."""
        return {
            "form": self.form,
            "source": self.source,
            "parameters": {name: estimate.to_json() for name, estimate in self.parameters.items()},
            "derived": {name: estimate.to_json() for name, estimate in self.derived.items()},
            "objective": {"name": self.objective_name, "value": finite(self.objective)},
            "certificate": None if self.certificate is None else self.certificate.to_json(),
            "flags": list(self.flags),
            "runs": list(self.run_ids),
        }


@dataclasses.dataclass(frozen=True)
class NotFitted:
    """A law that this table cannot support; it stands in the report and in laws.json with its reason."""

    name: str
    form: str
    source: str
    reason: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The reason, as a flag."""
        return (f"not fitted: {self.reason}",)

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json, with the keys of a fitted law."""
        return {
            "form": self.form, "source": self.source, "parameters": {}, "derived": {}, "objective": None,
            "certificate": None, "flags": list(self.flags), "runs": [],
        }  # fmt: skip


def estimate(value: float, replicates_R: FloatArray, level: float, method: str) -> Estimate:
    """The percentile interval of `replicates_R` around `value`; non-finite replicates count as unbounded."""
    if len(replicates_R) < 20:
        return Estimate(float(value), None, level, "too few replicates" if len(replicates_R) else "no bootstrap")
    known = replicates_R[~np.isnan(replicates_R)]
    if len(known) < 0.9 * len(replicates_R):
        return Estimate(float(value), None, level, f"undefined in {len(replicates_R) - len(known)} replicates")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), (float(low), float(high)), level, method)


def finite(value: float | None) -> float | None:
    """`value` as a JSON number, or None for NaN and infinities."""
    return None if value is None or not math.isfinite(value) else float(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _logs(**values: Any) -> dict[str, FloatArray]:
    arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(value, np.float64)) for value in values.values()])
    return dict(zip(values, map(np.log, arrays), strict=True))
