"""A held-out run against its forecast."""

import dataclasses
from typing import Any

import numpy as np

from analysis.laws.forecasts.forecast import Forecast
from analysis.laws.result import finite
from analysis.laws.tables.loss_units import NATS_PER_TOKEN


@dataclasses.dataclass(frozen=True)
class Check:
    """A held-out run against its forecast.

    Attributes:
      run_id: of the held-out run.
      forecast: made without it.
      measured: its loss.
      inside: whether it fell in the interval.
      error_percent: measured over predicted, minus one, in percent.
      sigma: ln(measured / predicted) over the forecast's standard deviation.
      name: of the run, for readers.
      standard_error: of `measured` over held-out documents, NaN where none is recorded.
      unit: of the losses.
    """

    run_id: str
    forecast: Forecast
    measured: float
    inside: bool
    error_percent: float
    sigma: float
    name: str = ""
    standard_error: float = float("nan")
    unit: str = NATS_PER_TOKEN

    @property
    def title(self) -> str:
        """The run's name with its id; the id alone where it has no other name."""
        return f"{self.name} ({self.run_id})" if self.name and self.name != self.run_id else self.run_id

    @property
    def size_in_words(self) -> str:
        """How the run's size relates to the compute-optimal one, as a clause."""
        ratio, best = self.forecast.size_ratio, self.forecast.optimal_params
        rounded = float(f"{best.value:.3g}")
        between = "" if ratio.interval is None else f" [{ratio.interval[0]:.3g}, {ratio.interval[1]:.3g}]"
        return f"its N is {ratio.value:.3g}{between} times the compute-optimal {rounded:,.0f} that the law predicts for its compute"

    @property
    def error_in_words(self) -> str:
        """How surely the loss was measured, beside the noise of a run, as a clause."""
        noise = f"the noise of a run is {100 * self.forecast.noise:.2g}%"
        if not np.isfinite(self.standard_error):
            return f"no standard error of the measured loss is recorded; {noise}"
        return (
            f"the measured loss has a standard error of {self.standard_error:.2g} {self.unit} over held-out documents "
            f"({100 * self.standard_error / self.measured:.2g}%; not in the interval, for all runs read the same text); {noise}"
        )

    def in_words(self) -> str:
        """The verdict, as a sentence."""
        low, high = self.forecast.interval
        return (
            f"{self.title}: predicted {self.forecast.value:.4f} {self.unit}, {100 * self.forecast.level:.0f}% interval "
            f"[{low:.4f}, {high:.4f}]; measured {self.measured:.4f}: {'INSIDE' if self.inside else 'OUTSIDE'} the interval "
            f"(measured is {self.error_percent:+.2f}% off the prediction, {self.sigma:+.2f} standard deviations), at "
            f"{self.forecast.reach['flops']:.3g} times the largest compute in the fit; the parametric law alone says "
            f"{self.forecast.by_law:.4f}; {self.size_in_words}; {self.error_in_words}"
        )

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        values = {name: getattr(self, name) for name in ("run_id", "name", "measured", "inside", "error_percent")}
        uncertain = {name: finite(getattr(self, name)) for name in ("standard_error", "sigma")}
        return {**values, **uncertain, "forecast": self.forecast.to_json()}


def check(
    measured: float,
    run_id: str,
    made: Forecast,
    name: str = "",
    standard_error: float = float("nan"),
    unit: str = NATS_PER_TOKEN,
) -> Check:
    """Holds a forecast against the measured loss (in `unit`, as its standard error)."""
    error = float(np.log(measured / made.value))
    low, high = made.interval
    return Check(
        run_id, made, float(measured), bool(low <= measured <= high), 100 * (measured / made.value - 1),
        error / made.deviation, name, float(standard_error), unit,
    )  # fmt: skip
